"""The last step of every change: index, layouts and manifest beside the passages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from embedmerge.bundle.layouts import write_layouts
from embedmerge.bundle.manifest import INDEX, PASSAGES, IndexFacts, Manifest, digests, now, versions
from embedmerge.bundle.store import PassageStore, write_lines

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from embedmerge.bundle.chunking import Chunking
    from embedmerge.bundle.manifest import EncodingFacts, ModelFacts
    from embedmerge.retrieval.index import VectorIndex


@dataclass(frozen=True)
class Made:
    """What a bundle is made with.

    Attributes:
        model: The model.
        encoding: How texts are encoded.
        chunking: How documents are cut.
        layouts: Libraries whose own files are written too.
        created: When it was first made; now where None.
    """

    model: ModelFacts
    encoding: EncodingFacts
    chunking: Chunking
    layouts: tuple[str, ...]
    created: str | None = None


def write_bundle(folder: Path, lines: Iterable[bytes], index: VectorIndex, made: Made) -> Manifest:
    """Write all files of a bundle into an empty folder, the manifest last.

    Args:
        folder: Where.
        lines: Passages as lines of the document store, row by row those of the index.
        index: The vectors.
        made: What it is made with.

    Returns:
        The manifest.

    Raises:
        EmbedmergeError: The index cannot be written.
    """
    write_lines(folder / PASSAGES, lines)
    index.save(folder / INDEX)
    passages = PassageStore(folder / PASSAGES)
    write_layouts(folder, made.layouts, index, passages)
    time = now()
    manifest = Manifest(
        created=made.created or time,
        changed=time,
        model=made.model,
        encoding=made.encoding,
        chunking=made.chunking,
        index=IndexFacts(
            kind=str(index.kind),
            similarity=index.settings.similarity,
            dimension=index.dimension or 0,
            passages=len(index),
            documents=len({passage.document for passage in passages}),
        ),
        layouts=made.layouts,
        versions=versions(),
        files=digests(folder),
    )
    passages.close()
    manifest.write(folder)
    return manifest
