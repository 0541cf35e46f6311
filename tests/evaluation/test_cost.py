from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from embedmerge.checkpoint.hub import Location
from embedmerge.checkpoint.layout import open_checkpoint
from embedmerge.evaluation.cost import MIB, measured
from embedmerge.stages import encoder_of


def busy(seconds: float) -> None:
    end = time.process_time() + seconds
    while time.process_time() < end:
        sum(range(1000))


def test_wall_time_is_not_cpu_time() -> None:
    with measured() as meter:
        time.sleep(0.3)
    assert meter.cost.seconds >= 0.3
    assert meter.cost.cpu_seconds < 0.2
    with measured() as meter:
        busy(0.2)
    assert 0.2 <= meter.cost.cpu_seconds <= meter.cost.seconds + 0.1


def test_the_time_of_children_counts() -> None:
    with measured() as meter:
        subprocess.run([sys.executable, "-S", "-c", "for _ in range(4_000_000): pass"], check=True)
    assert meter.cost.cpu_seconds > 0.02


def test_each_block_has_its_own_peak() -> None:
    with measured() as outer:
        with measured() as large:
            held = bytearray(200 * MIB)
            held[::4096] = b"x" * len(held[::4096])
            time.sleep(0.1)
        del held
        with measured() as small:
            time.sleep(0.05)
    assert large.cost.peak_mib > small.cost.peak_mib + 150
    assert outer.cost.peak_mib >= large.cost.peak_mib - 1


def test_what_all_encoders_did_meanwhile_is_counted(base: Path) -> None:
    encoders = [encoder_of(open_checkpoint(Location(name, base, None), name)) for name in ("one", "other")]
    encoders[0].embed(["asked before"])
    with measured() as meter:
        encoders[0].embed(["a", "b", "a"])
        with measured() as inner:
            encoders[1].embed(["b", "c"])
    assert (inner.cost.encoded, inner.cost.cache_hits) == (1, 1)
    assert (meter.cost.encoded, meter.cost.cache_hits) == (3, 2)


def test_a_block_that_fails_has_its_cost_all_the_same() -> None:
    with pytest.raises(ValueError, match="no"), measured() as meter:
        raise ValueError("no")
    assert meter.cost.seconds < 5
