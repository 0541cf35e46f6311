"""Vectors taken out of a FAISS index, whose later rows move up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from embedmerge.retrieval.index.incoming import Incoming
from embedmerge.retrieval.index.structures import trained

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from embedmerge.retrieval.index.searching import Search
    from embedmerge.retrieval.index.settings import IndexSettings

    Rows = NDArray[np.int64]


def without(built: Search, rows: Rows, settings: IndexSettings) -> Any:
    """The FAISS index without some of its rows.

    Flat codes and inverted lists lose entries and nothing else: what was trained stays. A graph cannot
    lose a node, so it is built anew of the vectors that stay.

    Args:
        built: The index.
        rows: To be taken out, ascending.
        settings: Those it was built with.

    Returns:
        The index itself, or another in its place.
    """
    if built.kind == "hnsw":
        return _graph_without(built, rows, settings)
    if built.kind in {"ivf", "ivf_sq8"}:
        _thin_lists(built.index, rows)
    else:
        import faiss

        built.index.remove_ids(faiss.IDSelectorBatch(rows))
    return built.index


def _graph_without(built: Search, rows: Rows, settings: IndexSettings) -> Any:
    kept = np.setdiff1d(np.arange(built.index.ntotal), rows)
    # They are scaled already, and would not come out the same to the bit a second time.
    vectors = Incoming(built.index.reconstruct_batch(kept), "dot")
    graph = trained("hnsw", vectors, settings)
    for _, block in vectors.blocks():
        graph.add(block)
    return graph


def _thin_lists(index: Any, rows: Rows) -> None:
    """Take rows out of inverted lists and number the others anew, so that rows are places again."""
    import faiss

    maps: Any = faiss
    index.set_direct_map_type(maps.DirectMap.NoMap)
    moved = np.arange(index.ntotal) - np.searchsorted(rows, np.arange(index.ntotal))
    moved[rows] = -1
    lists = index.invlists
    for number in range(index.nlist):
        size = lists.list_size(number)
        if not size:
            continue
        places = moved[faiss.rev_swig_ptr(lists.get_ids(number), size)]
        codes = faiss.rev_swig_ptr(lists.get_codes(number), size * index.code_size).reshape(size, -1)
        kept = places >= 0
        names, content = places[kept], np.ascontiguousarray(codes[kept])
        lists.resize(number, 0)
        if names.size:
            lists.add_entries(number, names.size, faiss.swig_ptr(names), faiss.swig_ptr(content))
    index.ntotal -= len(rows)
