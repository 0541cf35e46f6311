"""A control: as large a step away from the base, in a random direction."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any
from zlib import crc32

import numpy as np

from embedmerge.checkpoint.reading import TensorReader
from embedmerge.checkpoint.tensors import narrow
from embedmerge.checkpoint.writing import ShardedWriter

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from embedmerge.checkpoint.layout import Checkpoint
    from embedmerge.checkpoint.reading import TensorLocation

ONE_FILE = 1 << 62


def write_placebo(base: Checkpoint, mixture: Checkpoint, folder: Path, seed: int = 0) -> None:
    """Write the base plus a random task vector, of each tensor's norm in a mixture's own task vector.

    What a choice of weights is worth more than this is owed to the direction of the task vectors, not to
    having moved.

    Args:
        base: The model that both start from.
        mixture: The model whose task vector is matched, a folder with the base's module files.
        folder: Folder to write; absent or empty.
        seed: Of the directions; each tensor's also depends on its name.
    """
    weights = [path.name for path in mixture.weight_files()]
    shutil.copytree(mixture.folder, folder, ignore=shutil.ignore_patterns(*weights), dirs_exist_ok=True)
    with TensorReader() as reader:
        for place, module in enumerate(mixture.modules):
            tensors = mixture.tensors_of(place)
            if not tensors:
                continue
            originals = base.tensors_of(place)
            infos = [location.info for location in tensors.values()]
            with ShardedWriter(folder / module.path, infos, ONE_FILE) as writer:
                for name, location in tensors.items():
                    writer.append(_moved(reader, originals[name], location, seed))


def _moved(reader: TensorReader, original: TensorLocation, mixed: TensorLocation, seed: int) -> NDArray[Any]:
    if not mixed.info.is_floating:
        return reader.read(original)
    start = reader.read_float32(original)
    size = np.linalg.norm(reader.read_float32(mixed) - start)
    direction = np.random.default_rng([seed, crc32(mixed.info.name.encode())]).standard_normal(
        start.size, dtype=np.float32
    )
    step = size / max(float(np.linalg.norm(direction)), 1e-30)
    return narrow(start + np.float32(step) * direction, mixed.info.dtype)
