"""Embeddings on disk, keyed by content.

An entry is one block of texts encoded together. Its key covers the weights, the settings and every
text of the block, never a folder's name, so two models can not be mixed up, and a block read back
has the very bits it was computed with.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from embedmerge.atomic import write_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


def cache_folder() -> Path:
    """Where embedmerge keeps what can be computed again: `EMBEDMERGE_CACHE`, else the user's cache folder."""
    stated = os.environ.get("EMBEDMERGE_CACHE")
    if stated:
        return Path(stated).expanduser()
    root = os.environ.get("XDG_CACHE_HOME")
    return (Path(root) if root else Path.home() / ".cache") / "embedmerge"


def block_key(settings: dict[str, Any], texts: Sequence[str]) -> str:
    """Digest of everything a block of embeddings depends on.

    >>> block_key({"model": "a"}, ["x", "y"]) == block_key({"model": "a"}, ["xy"])
    False
    """
    content = json.dumps([settings, list(texts)], sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(content.encode()).hexdigest()


class EmbeddingCache:
    """Blocks of float32 embeddings in files.

    Args:
        folder: Where the files lie; created on the first store.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def of_user(cls) -> EmbeddingCache:
        """The one in the user's cache folder."""
        return cls(cache_folder() / "embeddings")

    def load(self, key: str, rows: int) -> NDArray[np.float32] | None:
        """The block of this key, or None where there is none or its file is damaged."""
        try:
            block = np.load(self._path(key), allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return None
        return block if block.ndim == 2 and len(block) == rows else None

    def store(self, key: str, block: NDArray[np.float32]) -> None:
        """Keep a block; a block of the same key is replaced."""
        buffer = io.BytesIO()
        np.save(buffer, block)
        write_bytes(self._path(key), buffer.getvalue())

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.npy"
