"""What an approximate index finds of what an exact one would."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from embedmerge.retrieval.index.searching import EPSILON, closeness

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from embedmerge.retrieval.index.incoming import Incoming
    from embedmerge.retrieval.index.searching import Search
    from embedmerge.retrieval.index.settings import Similarity
    from embedmerge.retrieval.vectors import Embeddings

    Rows = NDArray[np.int64]

QUERIES = 200
DEPTHS = (10, 100)
NOBODY = -1  # row of a query that is not in the index


@dataclass(frozen=True)
class Recall:
    """Share of the true nearest neighbours that are found, from 0 to 1.

    Attributes:
        at_10: Of the ten nearest.
        at_100: Of the hundred nearest.
        queries: Vectors that were searched with.
        vectors: Size of the index at that time.
    """

    at_10: float
    at_100: float
    queries: int
    vectors: int


def measured(search: Search, incoming: Incoming, seed: int, queries: Embeddings | None = None) -> Recall:
    """Recall of an index.

    A found vector counts where it is as near as the last of the true ones, so that among equal ones it
    does not matter which is found. Queries often lie apart from documents, and a sample of documents
    then finds more of its neighbours than they do.

    Args:
        search: Of the index, which holds these vectors and no others.
        incoming: The vectors as they were given.
        seed: Of the sample.
        queries: Ready to be searched with; a sample of the vectors, each searching for the others, where
            None.
    """
    total = len(incoming)
    own = np.full(0 if queries is None else len(queries), NOBODY)
    if queries is None:
        own = np.sort(np.random.default_rng(seed).choice(total, min(QUERIES, total), replace=False))
        queries = incoming.rows(own)
    depth = min(DEPTHS[-1] + 1, total)
    true = nearest(queries, incoming, search.similarity, depth)
    found = [rows for rows, _ in search.best(queries, depth)]
    shares = [
        _shares(query, each, truth, rows, incoming, search.similarity)
        for query, each, truth, rows in zip(queries, own, true, found, strict=True)
    ]
    at_10, at_100 = (round(float(share), 4) for share in np.mean(shares, axis=0))
    return Recall(at_10, at_100, len(queries), total)


def nearest(queries: Embeddings, incoming: Incoming, similarity: Similarity, k: int) -> Rows:
    """Rows of each query's k nearest vectors, block by block.

    Returns:
        Shape (queries, k).
    """
    import faiss

    metric = faiss.METRIC_L2 if similarity == "euclidean" else faiss.METRIC_INNER_PRODUCT
    heap = faiss.ResultHeap(len(queries), k, keep_max=similarity != "euclidean")
    for start, block in incoming.blocks():
        values, rows = faiss.knn(queries, block, min(k, len(block)), metric=metric)
        heap.add_result(values, rows + start)
    heap.finalize()
    return np.asarray(heap.I)


def _shares(
    query: Embeddings, own: int, true: Rows, found: Rows, incoming: Incoming, similarity: Similarity
) -> list[float]:
    truth, reached = (_values(query, own, rows, incoming, similarity) for rows in (true, found))
    shares = []
    for depth in DEPTHS:
        wanted = truth[:depth]
        slack = 4 * EPSILON * float(np.abs(wanted).max(initial=0))
        hits = int((reached[:depth] >= wanted.min(initial=np.inf) - slack).sum())
        shares.append(hits / len(wanted) if len(wanted) else 1.0)
    return shares


def _values(query: Embeddings, own: int, rows: Rows, incoming: Incoming, similarity: Similarity) -> Any:
    others = rows[rows != own][: DEPTHS[-1]]
    return closeness(query, incoming.rows(others), similarity)
