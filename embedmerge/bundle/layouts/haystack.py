"""The JSON file that Haystack's `InMemoryDocumentStore.load_from_disk` opens.

Haystack's own FAISS store needs an older numpy than this package (faiss-haystack 3.0.0: below 2).
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from embedmerge.bundle.store import PassageStore
    from embedmerge.retrieval.index import VectorIndex

FILE = "documents.json"


def write(folder: Path, index: VectorIndex, passages: PassageStore) -> None:
    """Write the store with its embeddings, one document at a time."""
    from haystack.document_stores.in_memory import InMemoryDocumentStore

    similarity = index.settings.similarity
    store = InMemoryDocumentStore(
        embedding_similarity_function="cosine" if similarity == "cosine" else "dot_product", shared=False
    ).to_dict()
    del store["init_parameters"]["index"]  # of this process; two that share one share their documents
    head = json.dumps(store)[:-1]
    with (folder / FILE).open("w", encoding="utf-8") as handle:
        handle.write(f'{head}, "documents": [')
        for number, document in enumerate(_documents(index, passages)):
            handle.write((",\n" if number else "\n") + json.dumps(document))
        handle.write("\n]}\n")


def _documents(index: VectorIndex, passages: PassageStore) -> Iterator[dict[str, Any]]:
    from haystack import Document

    vectors = (vector for block in index.blocks() for vector in block)
    for passage, vector in zip(passages, vectors, strict=True):
        yield Document(
            id=passage.id, content=passage.text, meta=passage.metadata, embedding=vector.tolist()
        ).to_dict(flatten=False)
