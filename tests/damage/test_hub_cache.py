"""Seeded damage to weights in the hub's cache, where even a flipped bit of a value shows."""

from __future__ import annotations

import random
import shutil

import pytest

from embedmerge.checkpoint.lineage import file_sha256

FILE = "model.safetensors"


def into_cache(folder):
    """The model as the hub's cache keeps it: a snapshot of links to files named after their sha256."""
    cache = folder.parent / "models--org--base"
    snapshot = cache / "snapshots" / ("1" * 40)
    (cache / "blobs").mkdir(parents=True)
    shutil.copytree(folder, snapshot)
    blob = cache / "blobs" / file_sha256(snapshot / FILE)
    (snapshot / FILE).rename(blob)
    (snapshot / FILE).symlink_to(f"../../blobs/{blob.name}")
    return snapshot, blob


def test_what_the_hub_gave_is_merged(scene):
    scene.base, _ = into_cache(scene.base)
    assert scene.merge().code == 0


@pytest.mark.parametrize("which", ["base", "expert"])
@pytest.mark.parametrize("seed", range(15))
def test_a_flipped_bit_of_a_value(scene, which, seed):
    snapshot, blob = into_cache(getattr(scene, which))
    setattr(scene, which, snapshot)
    chance = random.Random(seed)
    data = bytearray(blob.read_bytes())
    start = 8 + int.from_bytes(data[:8], "little")
    data[chance.randrange(start, len(data))] ^= 1 << chance.randrange(8)
    blob.write_bytes(data)
    outcome = scene.merge()
    outcome.require_refused()
    assert "fetch again" in outcome.error or "NaN or infinity" in outcome.error
