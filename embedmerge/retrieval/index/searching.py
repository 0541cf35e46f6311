"""Queries against a FAISS index, with the same answer whatever the number of threads.

FAISS multiplies matrices whose last bits depend on the number of threads and on where a vector lies, so
that equal documents can differ in score. So every block of queries is one thread's, and an exact search
takes FAISS's candidates and some more, scores them again in one fixed order, and looks further wherever
the rounding of FAISS's scores leaves open who comes last.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from embedmerge.retrieval.index.incoming import lengths_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from embedmerge.retrieval.index.settings import BuiltKind, Similarity
    from embedmerge.retrieval.vectors import Embeddings

    Float64 = NDArray[np.float64]
    Rows = NDArray[np.int64]
    Found = tuple[Rows, Embeddings]

QUERIES = 128  # of a block
SPARE = 16
ROWS = 8192
EPSILON = float(np.finfo(np.float32).eps)


@dataclass(frozen=True)
class Search:
    """One index with what ranking in it takes.

    Attributes:
        index: FAISS's.
        kind: What it is.
        similarity: How vectors are compared.
        ids: Id by row.
        longest: The largest L2 norm among its vectors.
    """

    index: Any
    kind: BuiltKind
    similarity: Similarity
    ids: Sequence[str]
    longest: float

    def best(self, queries: Embeddings, k: int) -> list[Found]:
        """Rows and scores of each query's k best, equal scores by id descending, as trec_eval ranks them."""
        import faiss

        starts = range(0, len(queries), QUERIES)
        workers = min(len(starts), faiss.omp_get_max_threads(), os.cpu_count() or 1)
        pool = ThreadPoolExecutor(max(workers, 1), initializer=faiss.omp_set_num_threads, initargs=(1,))
        with pool, matrix_products(queries.shape[1]):
            search = self._exact if self.kind == "exact" else self._approximate
            found = pool.map(lambda start: search(queries[start : start + QUERIES], k), starts)
            return list(chain.from_iterable(found))

    def scores(self, query: Embeddings, rows: Rows) -> Embeddings:
        """Similarities of one query to some rows."""
        return as_scores(self._closeness(query, rows), self.similarity)

    def _approximate(self, queries: Embeddings, k: int) -> list[Found]:
        values, rows = self.index.search(queries, min(k, len(self.ids)))
        if self.similarity == "euclidean":
            values = -values
        return [
            self._ranked(row[row >= 0], value[row >= 0], k) for row, value in zip(rows, values, strict=True)
        ]

    def _exact(self, queries: Embeddings, k: int) -> list[Found]:
        values, rows = self.index.search(queries, min(k + SPARE, len(self.ids)))
        reached = -values[:, -1] if self.similarity == "euclidean" else values[:, -1]
        return [self._settled(*each, k) for each in zip(queries, rows, reached, strict=True)]

    def _settled(self, query: Embeddings, rows: Rows, reached: float, k: int) -> Found:
        """The best of FAISS's candidates, or of all rows that may be where `reached` leaves it open."""
        closeness = self._closeness(query, rows)
        if len(rows) < len(self.ids):
            last = float(np.partition(closeness, -k)[-k])
            slack = self._slack(query)
            if last <= float(reached) + slack:
                rows = self._beyond(query, last - slack)
                closeness = self._closeness(query, rows)
        return self._ranked(rows, closeness, k)

    def _beyond(self, query: Embeddings, closeness: float) -> Rows:
        """Rows that are closer than that."""
        sign = -1 if self.similarity == "euclidean" else 1
        _, _, rows = self.index.range_search(query[None], sign * closeness)
        return np.asarray(rows)

    def _slack(self, query: Embeddings) -> float:
        """How far FAISS's float32 sums may be off: sqrt(d) roundings of the largest term, four times over.

        The probabilistic bound of Higham and Mary (2019).
        """
        length = float(lengths_of(query[None])[0])
        largest = (length + self.longest) ** 2 if self.similarity == "euclidean" else length * self.longest
        return 4 * EPSILON * float(np.sqrt(query.size)) * largest

    def _closeness(self, query: Embeddings, rows: Rows) -> Float64:
        parts = (rows[start : start + ROWS] for start in range(0, len(rows), ROWS))
        found = [closeness(query, self.index.reconstruct_batch(part), self.similarity) for part in parts]
        return np.concatenate(found) if found else np.empty(0)

    def _ranked(self, rows: Rows, closeness: Float64 | Embeddings, k: int) -> Found:
        scores = as_scores(closeness, self.similarity)
        places = ranked(scores, [self.ids[row] for row in rows])[:k]
        return rows[places], scores[places]


@contextmanager
def matrix_products(dimension: int) -> Iterator[None]:
    """Make FAISS compare blocks of four queries and more by matrix products.

    By default it does so from 128,000 numbers on, and below takes up to eight times as long. The
    threshold is one for the process; which side of it a search is on changes its last bits only.
    """
    import faiss

    before = faiss.cvar.distance_compute_blas_threshold
    faiss.cvar.distance_compute_blas_threshold = 4 * dimension
    try:
        yield
    finally:
        faiss.cvar.distance_compute_blas_threshold = before


def closeness(query: Embeddings, vectors: Embeddings, similarity: Similarity) -> Float64:
    """Inner products, or negative squared distances, each summed in float64 and in the same order.

    >>> closeness(np.float32([1, 2]), np.float32([[3, 4], [1, 2]]), "euclidean")
    array([-8., 0.])

    Args:
        query: Shape (dimension,).
        vectors: Shape (rows, dimension).
        similarity: `euclidean` for distances.
    """
    wide = vectors.astype(np.float64)
    if similarity != "euclidean":
        return np.asarray(np.einsum("ij,j->i", wide, query.astype(np.float64)))
    wide -= query
    return np.asarray(-np.einsum("ij,ij->i", wide, wide))


def as_scores(closeness: Float64 | Embeddings, similarity: Similarity) -> Embeddings:
    """Similarities: inner products as they are, the negative root of squared distances."""
    if similarity != "euclidean":
        return closeness.astype(np.float32)
    return (-np.sqrt(np.maximum(-closeness, 0))).astype(np.float32)


def ranked(scores: Embeddings, ids: Sequence[str]) -> Rows:
    """Places from the best score to the worst, equal ones by id descending.

    >>> ranked(np.float32([1, 2, 1]), ["a", "b", "c"])
    array([1, 2, 0])
    """
    places = np.argsort(-scores, kind="stable")
    descending = scores[places]
    if (descending[1:] == descending[:-1]).any():
        return np.array(sorted(places, key=lambda place: (scores[place], ids[place]), reverse=True))
    return places
