"""sha256 of what went in and what came out."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from embedmerge.checkpoint.layout import Checkpoint


def file_sha256(path: Path) -> str:
    """Digest of a file's bytes."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


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
    places = {file.relative_to(checkpoint.folder).as_posix() for file in checkpoint.weight_files()}
    return combined_sha256({place: checkpoint.digests[place] for place in places})


def model_sha256(checkpoint: Checkpoint) -> str:
    """Digest over weights and module files: whatever decides an embedding decides this."""
    return combined_sha256(checkpoint.digests)
