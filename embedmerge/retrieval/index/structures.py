"""The FAISS index of each kind, empty or trained."""

from __future__ import annotations

import math
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from embedmerge.errors import EmbedmergeError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from embedmerge.retrieval.index.incoming import Incoming
    from embedmerge.retrieval.index.settings import BuiltKind, IndexSettings

LINKS = 32  # of a vector in the graph
CANDIDATES = 128
LEAST_LISTS = 64
BYTE = 256  # centres that a byte tells apart
DIMENSIONS_PER_BYTE = 4
SAMPLE_PER_CENTRE = 64
LEAST_PER_CENTRE = 39  # below which FAISS warns that centres are badly placed
SAMPLE_OF_RANGES = 1 << 16


def trained(kind: BuiltKind, incoming: Incoming, settings: IndexSettings) -> Any:
    """An index without vectors, trained on a sample of those that will come, with room for them.

    Args:
        kind: What to build.
        incoming: The vectors.
        settings: Similarity, effort and seed.

    Raises:
        EmbedmergeError: There are too few vectors to train this kind.
    """
    import faiss

    lists = number_of_lists(len(incoming))
    factory = _factory(kind, incoming.dimension, lists)
    index = faiss.index_factory(incoming.dimension, factory, _metric(settings))
    _configure(index, kind, lists, settings)
    if not index.is_trained:
        index.train(_sample(incoming, _sample_size(kind, len(incoming), lists), settings.seed))
    _reserve(index, len(incoming))
    return index


def number_of_lists(vectors: int) -> int:
    """FAISS's rule of thumb, 4 sqrt(n), as long as every list's centre has enough vectors to be placed by.

    >>> number_of_lists(1_000_000), number_of_lists(1000), number_of_lists(1)
    (4000, 25, 1)
    """
    return max(1, min(round(4 * math.sqrt(vectors)), vectors // LEAST_PER_CENTRE))


def codes_per_vector(dimension: int) -> int:
    """Bytes of a product-quantised vector: the most that divides the dimension, up to a quarter of it.

    >>> codes_per_vector(384), codes_per_vector(770), codes_per_vector(3)
    (96, 154, 1)
    """
    most = max(1, dimension // DIMENSIONS_PER_BYTE)
    return next(codes for codes in range(most, 0, -1) if dimension % codes == 0)


@contextmanager
def one_thread() -> Iterator[None]:
    """FAISS on one thread: graphs, and the last bits of matrix products, depend on how many there are."""
    import faiss

    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def _factory(kind: BuiltKind, dimension: int, lists: int) -> str:
    return {
        "exact": "Flat",
        "hnsw": f"HNSW{LINKS}",
        "ivf": f"IVF{lists},Flat",
        "sq8": "SQ8",
        "ivf_sq8": f"IVF{lists},SQ8",
        "pq": f"PQ{codes_per_vector(dimension)}",
    }[kind]


def _metric(settings: IndexSettings) -> Any:
    import faiss

    return faiss.METRIC_L2 if settings.similarity == "euclidean" else faiss.METRIC_INNER_PRODUCT


def _configure(index: Any, kind: BuiltKind, lists: int, settings: IndexSettings) -> None:
    if kind == "hnsw":
        index.hnsw.efSearch = settings.effort or CANDIDATES
    elif kind in {"ivf", "ivf_sq8"}:
        index.cp.seed = settings.seed
        index.nprobe = min(settings.effort or max(LEAST_LISTS, lists // 32), lists)
    elif kind == "pq":
        index.pq.cp.seed = settings.seed
        index.pq.cp.min_points_per_centroid = 1  # fewer than usual show in the recall
        index.do_polysemous_training = False  # orders centres for Hamming search, by minutes of annealing


def _sample_size(kind: BuiltKind, vectors: int, lists: int) -> int:
    if kind == "pq" and vectors < BYTE:
        msg = f"index kind 'pq': {vectors} vectors, {BYTE} are the least to train it; take exact"
        raise EmbedmergeError(msg)
    by_kind = {
        "pq": SAMPLE_PER_CENTRE * BYTE,
        "ivf": SAMPLE_PER_CENTRE * lists,
        "ivf_sq8": max(SAMPLE_PER_CENTRE * lists, SAMPLE_OF_RANGES),
    }
    return min(by_kind.get(kind, SAMPLE_OF_RANGES), vectors)


def _sample(incoming: Incoming, size: int, seed: int) -> Any:
    places = np.random.default_rng(seed).choice(len(incoming), size, replace=False)
    return incoming.rows(np.sort(places))


def _reserve(index: Any, vectors: int) -> None:
    """Take the memory of all codes at once: growing block by block would take it twice."""
    import faiss

    flat: Any = faiss.downcast_index(getattr(index, "storage", index))
    if hasattr(flat, "codes"):
        flat.codes.resize(vectors * flat.code_size)
        flat.codes.resize(0)
