"""The files of other libraries, made of a bundle's index and passages.

Each library writes its own, so it has to be installed; `pip install 'embedmerge[rag]'` brings them all.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from embedmerge.errors import EmbedmergeError, nearest

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from embedmerge.bundle.store import PassageStore
    from embedmerge.retrieval.index import VectorIndex

# Name, which is that of its folder too -> module here, and what has to be importable.
LAYOUTS = {
    "langchain": ("langchain", "langchain_community"),
    "llama-index": ("llama_index", "llama_index.vector_stores.faiss"),
    "haystack": ("haystack", "haystack"),
}


def require_layouts(names: Iterable[str], similarity: str) -> None:
    """Refuse layouts that cannot be written.

    Args:
        names: Of layouts.
        similarity: How the vectors are compared.

    Raises:
        EmbedmergeError: No such layout, its library is not installed, or it cannot compare vectors so.
    """
    for name in names:
        if name not in LAYOUTS:
            raise EmbedmergeError(f"--layout {name}: no such layout; {nearest(name, LAYOUTS)}")
        try:
            import_module(LAYOUTS[name][1])
        except ImportError as error:
            msg = f"--layout {name}: {LAYOUTS[name][1]} is not installed; pip install 'embedmerge[rag]'"
            raise EmbedmergeError(msg) from error
        if name == "haystack" and similarity == "euclidean":
            msg = "--layout haystack: its store knows no Euclidean distance, by which this model is compared"
            raise EmbedmergeError(msg)


def write_layouts(folder: Path, names: Iterable[str], index: VectorIndex, passages: PassageStore) -> None:
    """Write layouts, each into a folder of its name.

    Args:
        folder: The bundle's.
        names: Of layouts that `require_layouts` has let pass.
        index: The vectors.
        passages: Row by row what they stand for.
    """
    for name in names:
        (folder / name).mkdir()
        module = import_module(f"embedmerge.bundle.layouts.{LAYOUTS[name][0]}")
        module.write(folder / name, index, passages)
