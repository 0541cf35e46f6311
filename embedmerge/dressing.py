"""Models that sentence-transformers cannot load from where they lie, put into a folder from which it can.

An expert without module files, an adapter on its base, weights under another naming: each is encoded
from a folder in the cache that holds the module files of a merged model beside the weights.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from embedmerge.atomic import new_folder, write_bytes
from embedmerge.checkpoint.layout import Checkpoint
from embedmerge.checkpoint.lineage import combined_sha256
from embedmerge.checkpoint.portable import portable_files
from embedmerge.checkpoint.reading import TensorReader
from embedmerge.checkpoint.writing import INDEX, ShardedWriter
from embedmerge.retrieval.cache import cache_folder

if TYPE_CHECKING:
    from pathlib import Path

    from embedmerge.checkpoint.reading import TensorLocation

SHARD_BYTES = 5_000_000_000
SLICE = 1 << 22


def is_loadable(checkpoint: Checkpoint) -> bool:
    """Whether sentence-transformers loads the model's own folder as it is meant."""
    plain = type(checkpoint) is Checkpoint and (checkpoint.folder / "modules.json").is_file()
    return plain and all(_is_as_stored(located) for located in checkpoint.tensors.values())


def dressed(checkpoint: Checkpoint) -> tuple[Path, str]:
    """A folder to load the model from, made where there is none yet, and the digest of what is in it.

    Weights that need no other name are linked to, all others copied.

    Raises:
        EmbedmergeError: A source file cannot be read.
    """
    files = portable_files(checkpoint)
    weights = {place: checkpoint.digests[place] for place in checkpoint.weight_places()}
    content = {place: hashlib.sha256(data).hexdigest() for place, data in files.items()}
    digest = combined_sha256({**content, **{f"weights/{place}": each for place, each in weights.items()}})
    # A link holds for the files it was made for: the same weights elsewhere may be changed one day.
    where = combined_sha256({"model": digest, "place": str(checkpoint.location.folder.resolve())})
    target = cache_folder() / "dressed" / where
    if not target.is_dir():
        _dress(checkpoint, files, target)
    return target, digest


def _dress(checkpoint: Checkpoint, files: dict[str, bytes], target: Path) -> None:
    try:
        with new_folder(target) as folder:
            for place, data in files.items():
                write_bytes(folder / place, data)
            for module_path, located in checkpoint.tensors.items():
                (folder / module_path).mkdir(parents=True, exist_ok=True)
                _place_weights(located, folder / module_path)
    except OSError:
        if not target.is_dir():  # else another process was faster
            raise


def _place_weights(located: dict[str, TensorLocation], folder: Path) -> None:
    files = {location.file for location in located.values()}
    if _is_as_stored(located) and all(file.suffix == ".safetensors" for file in files):
        for file in files | {file.parent / INDEX for file in files}:
            if file.is_file():
                (folder / file.name).symlink_to(file.resolve())
        return
    infos = [location.info for location in located.values()]
    with TensorReader() as reader, ShardedWriter(folder, infos, SHARD_BYTES) as writer:
        for location in located.values():
            elements = location.info.elements
            for start in range(0, elements, SLICE):
                writer.append(reader.read(location, start, min(start + SLICE, elements)))


def _is_as_stored(located: dict[str, TensorLocation]) -> bool:
    return all(location.stored == name and location.update is None for name, location in located.items())
