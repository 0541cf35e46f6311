"""A module's weights on disk: one safetensors file, or shards of a given size with their index."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, Self

from embedmerge.atomic import write_bytes
from embedmerge.checkpoint.tensors import SafetensorsWriter

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from embedmerge.checkpoint.tensors import TensorInfo

NAME = "model.safetensors"
INDEX = "model.safetensors.index.json"


class ShardedWriter:
    """Writes tensors front to back into as many files as their size asks for; use as a context manager.

    The files are named and indexed as transformers does it, so that it loads them.

    Args:
        folder: Where the files go; must exist.
        infos: Names, types and shapes in the order in which `append` will bring their elements.
        shard_bytes: A file that would grow beyond this is closed, unless one tensor alone is larger.
    """

    def __init__(self, folder: Path, infos: Sequence[TensorInfo], shard_bytes: int) -> None:
        self._folder = folder
        self._shards = _shards(infos, shard_bytes)
        self._names = _names(len(self._shards))
        self._digests: dict[str, str] = {}
        self._open: SafetensorsWriter | None = None

    def __enter__(self) -> Self:
        self._start(0)
        return self

    def __exit__(self, error_type: Any, *error: Any) -> None:
        if error_type is not None:
            self._close(error_type, *error)
            return
        while len(self._digests) < len(self._names):
            self._turn()
        if len(self._names) > 1:
            self._write_index()

    @property
    def sha256(self) -> dict[str, str]:
        """Digest of every file written, by name; complete after the end of the context."""
        return self._digests

    def append(self, elements: NDArray[Any]) -> None:
        """Write the next elements, in stored form; they must not reach from one tensor into the next."""
        assert self._open is not None
        while not self._open.missing and elements.size:
            self._turn()
        self._open.append(elements)

    def _start(self, shard: int) -> None:
        self._open = SafetensorsWriter(self._folder / self._names[shard], self._shards[shard])
        self._open.__enter__()

    def _turn(self) -> None:
        """Close the shard that is open and open the next one, if any."""
        self._close(None, None, None)
        if len(self._digests) < len(self._names):
            self._start(len(self._digests))

    def _close(self, *error: Any) -> None:
        assert self._open is not None
        self._open.__exit__(*error)
        self._digests[self._names[len(self._digests)]] = self._open.sha256

    def _write_index(self) -> None:
        shards = zip(self._names, self._shards, strict=True)
        index = {
            "metadata": {"total_size": sum(info.nbytes for shard in self._shards for info in shard)},
            "weight_map": {info.name: name for name, shard in shards for info in shard},
        }
        content = (json.dumps(index, indent=2, sort_keys=True) + "\n").encode()
        write_bytes(self._folder / INDEX, content)
        self._digests[INDEX] = hashlib.sha256(content).hexdigest()


def _shards(infos: Sequence[TensorInfo], shard_bytes: int) -> list[list[TensorInfo]]:
    shards: list[list[TensorInfo]] = [[]]
    held = 0
    for info in infos:
        if info.nbytes and held and held + info.nbytes > shard_bytes:
            shards.append([])
            held = 0
        shards[-1].append(info)
        held += info.nbytes
    return shards


def _names(count: int) -> list[str]:
    if count == 1:
        return [NAME]
    return [f"model-{row:05d}-of-{count:05d}.safetensors" for row in range(1, count + 1)]
