"""sha256 of what went in and what came out."""

from __future__ import annotations

import hashlib
import os
import re
from typing import TYPE_CHECKING, Self

from embedmerge.errors import EmbedmergeError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from embedmerge.checkpoint.layout import Checkpoint

BLOCK = 1 << 16
SHA256 = re.compile(r"[0-9a-f]{64}")


def file_sha256(path: Path) -> str:
    """Digest of a file's bytes."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


class FollowingDigest:
    """sha256 of a file, taken behind somebody who reads it, while its bytes are still in memory.

    Bytes are digested once and in order, whatever the order in which they are read; use as a context
    manager.
    """

    def __init__(self, path: Path) -> None:
        self._handle = path.open("rb", buffering=0)
        self._hash = hashlib.sha256()
        self._buffer = memoryview(bytearray(BLOCK))
        self._at = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._handle.close()

    def lag(self, place: int) -> int:
        """Number of bytes before a place that have not been digested yet."""
        return place - self._at

    def follow(self, place: int) -> None:
        """Digest up to a place in the file, unless that has been done already."""
        while self._at < place:
            block = self._buffer[: min(place - self._at, BLOCK)]
            size = self._handle.readinto(block)
            if not size:
                return
            self._hash.update(block[:size])
            self._at += size

    def finish(self) -> str:
        """Digest what is left, and return the digest of the whole."""
        self.follow(os.fstat(self._handle.fileno()).st_size)
        return self._hash.hexdigest()


def require_as_fetched(path: Path, digest: str) -> None:
    """Refuse a file in the hub's cache that has changed since it was fetched.

    The cache names a large file after its sha256, as the hub states it.

    Args:
        path: A file that was read; a snapshot's files are links to those of the cache.
        digest: sha256 of what was read.

    Raises:
        EmbedmergeError: The bytes are others.
    """
    blob = path.resolve()
    if blob.parent.name == "blobs" and SHA256.fullmatch(blob.name) and blob.name != digest:
        msg = f"{path}: its bytes are not those that the hub gave; remove it from the cache and fetch again"
        raise EmbedmergeError(msg)


def files_sha256(folder: Path, files: Iterable[Path]) -> dict[str, str]:
    """Digest of each file, by its place below `folder`, sorted."""
    named = sorted((file.relative_to(folder).as_posix(), file) for file in files)
    return {name: file_sha256(file) for name, file in named}


def combined_sha256(digests: dict[str, str]) -> str:
    """One digest over named digests, whatever their order.

    >>> combined_sha256({"a": "1", "b": "2"}) == combined_sha256({"b": "2", "a": "1"})
    True
    """
    lines = "".join(f"{digest}  {name}\n" for name, digest in sorted(digests.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def weights_sha256(checkpoint: Checkpoint) -> str:
    """Digest over the weight files: the same weights under another folder name have the same."""
    return combined_sha256({place: checkpoint.digests[place] for place in checkpoint.weight_places()})


def model_sha256(checkpoint: Checkpoint) -> str:
    """Digest over weights and module files: whatever decides an embedding decides this."""
    return combined_sha256(checkpoint.digests)
