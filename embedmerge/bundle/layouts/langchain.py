"""`index.faiss` and `index.pkl`, which LangChain's `FAISS.load_local` opens.

The second is a pickle, which can hold any program; so nobody should open one that he has not made, and a
bundle has none unless it is asked for. `docs/rag.md` shows how to do without.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from embedmerge.bundle.store import PassageStore
    from embedmerge.retrieval.index import VectorIndex


def write(folder: Path, index: VectorIndex, passages: PassageStore) -> None:
    """Write the two files."""
    from langchain_community.docstore.in_memory import InMemoryDocstore
    from langchain_community.vectorstores import FAISS
    from langchain_core.documents import Document
    from langchain_core.embeddings import FakeEmbeddings

    documents = {
        passage.id: Document(page_content=passage.text, metadata=passage.metadata, id=passage.id)
        for passage in passages
    }
    # What encodes questions is not saved.
    nobody = FakeEmbeddings(size=index.built.index.d)
    rows = dict(enumerate(index.ids))
    FAISS(nobody, _index(index), InMemoryDocstore(dict(documents)), rows).save_local(str(folder))


def _index(index: VectorIndex) -> Any:
    """An exact index under Euclidean distance for vectors of length one, else the bundle's own.

    The order is the same, and `load_local` takes distances to be Euclidean unless it is told otherwise:
    of cosines it would make relevance upside down.
    """
    import faiss

    if index.kind != "exact" or index.settings.similarity != "cosine":
        return index.built.index
    flat = faiss.IndexFlatL2(index.built.index.d)
    for block in index.blocks():
        flat.add(block)
    return flat
