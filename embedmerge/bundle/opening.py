"""A bundle, opened: its manifest, its index and its passages, which belong together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from embedmerge.bundle.manifest import INDEX, MANIFEST, PASSAGES, Manifest, read_manifest
from embedmerge.bundle.replacing import restore
from embedmerge.bundle.store import PassageStore
from embedmerge.errors import EmbedmergeError
from embedmerge.retrieval.index import VectorIndex

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Bundle:
    """A bundle, opened.

    Attributes:
        folder: Where it lies.
        manifest: What it says of itself.
        index: The vectors; row by row those of `passages`.
        passages: What they stand for.
    """

    folder: Path
    manifest: Manifest
    index: VectorIndex
    passages: PassageStore


def open_bundle(folder: Path) -> Bundle:
    """Open a bundle and check every file of it.

    A bundle that is replaced while it is being opened is opened anew.

    Args:
        folder: What `embedmerge index` wrote.

    Raises:
        EmbedmergeError: It is none, a file of it is missing or altered, or its parts contradict each other.
    """
    restore(folder)
    while True:
        before = _written(folder)
        try:
            return _opened(folder)
        except EmbedmergeError:
            if before == _written(folder):
                raise


def _written(folder: Path) -> bytes | None:
    path = folder / MANIFEST
    return path.read_bytes() if path.is_file() else None


def _opened(folder: Path) -> Bundle:
    manifest = read_manifest(folder)
    index = VectorIndex.load(folder / INDEX, manifest.model.sha256)
    passages = PassageStore(folder / PASSAGES)
    found = (index.dimension, len(index), len(passages))
    stated = (manifest.index.dimension, manifest.index.passages, manifest.index.passages)
    if found != stated:
        msg = (
            f"{folder}: its parts do not belong together: the index has {found[1]} vectors of {found[0]} "
            f"dimensions for {found[2]} passages, the manifest says {stated[1]} of {stated[0]}; index again"
        )
        raise EmbedmergeError(msg)
    return Bundle(folder, manifest, index, passages)
