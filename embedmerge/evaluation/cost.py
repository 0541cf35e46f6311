"""What a piece of work costs."""

from __future__ import annotations

import resource
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from embedmerge.retrieval.counts import OF_PROCESS

if TYPE_CHECKING:
    from collections.abc import Iterator

PULSE = 0.02  # seconds between two looks at the memory in use
PAGES = Path("/proc/self/statm")
MIB = 1 << 20
UNIT = 1 if sys.platform == "darwin" else 1024  # bytes that ru_maxrss counts in


@dataclass(frozen=True)
class Cost:
    """What a piece of work cost.

    Attributes:
        seconds: Wall time.
        cpu_seconds: User and system time of this process and of the children it has waited for.
        peak_mib: Most memory that this process had resident meanwhile.
        encoded: Texts that models encoded in this process.
        cache_hits: Texts whose embeddings were in the cache.
    """

    seconds: float
    cpu_seconds: float
    peak_mib: float
    encoded: int = 0
    cache_hits: int = 0

    def __add__(self, other: Cost) -> Cost:
        """One after the other.

        >>> Cost(2, 3, 100, encoded=5) + Cost(1, 1, 80, cache_hits=5)
        Cost(seconds=3, cpu_seconds=4, peak_mib=100, encoded=5, cache_hits=5)
        """
        return Cost(
            self.seconds + other.seconds,
            self.cpu_seconds + other.cpu_seconds,
            max(self.peak_mib, other.peak_mib),
            self.encoded + other.encoded,
            self.cache_hits + other.cache_hits,
        )


@dataclass
class Meter:
    """Runs while a piece of work is done.

    Attributes:
        cost: What the work cost; there once it is over.
    """

    cost: Cost = field(init=False)


@contextmanager
def measured() -> Iterator[Meter]:
    """Measure the block, which may hold others that are measured.

    The kernel's high-water mark of a process's memory covers its whole life. It is this block's peak where it
    rose meanwhile; otherwise the peak is the most that a look every 20 ms found, on Linux, or the mark,
    which is then too high.

    >>> with measured() as meter:
    ...     total = sum(range(1000))
    >>> meter.cost.encoded, meter.cost.seconds < 5
    (0, True)
    """
    meter = Meter()
    encoded, hits = OF_PROCESS.encoded, OF_PROCESS.hits
    mark, wall, cpu = _high_water(), time.perf_counter(), _cpu_seconds()
    with _Watch() as watch:
        try:
            yield meter
        finally:
            seconds, cpu_seconds = time.perf_counter() - wall, _cpu_seconds() - cpu
            risen = _high_water()
            peak = risen if risen > mark else watch.look()
            meter.cost = Cost(
                seconds, cpu_seconds, peak / MIB, OF_PROCESS.encoded - encoded, OF_PROCESS.hits - hits
            )


class _Watch(threading.Thread):
    """Looks at the memory in use until told to stop."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._most = 0
        self._over = threading.Event()

    def look(self) -> int:
        """Bytes that were resident at most, now included."""
        self._most = max(self._most, _resident())
        return self._most

    def run(self) -> None:
        while not self._over.wait(PULSE):
            self.look()

    def __enter__(self) -> _Watch:
        self.look()
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()


def _resident() -> int:
    """Bytes in use; the high-water mark where the system does not say."""
    try:
        return int(PAGES.read_text(encoding="ascii").split()[1]) * resource.getpagesize()
    except OSError:
        return _high_water()


def _high_water() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * UNIT


def _cpu_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)
