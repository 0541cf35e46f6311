from __future__ import annotations

import numpy as np
import pytest
import torch

from embedmerge.errors import EmbedmergeError
from embedmerge.retrieval.index import IndexSettings, VectorIndex
from embedmerge.retrieval.index.structures import codes_per_vector, number_of_lists

BUILT = ("exact", "hnsw", "ivf", "sq8", "ivf_sq8", "pq")
SIMILARITIES = ("cosine", "dot", "euclidean")
DIMENSION = 32


def clustered(rows: int, seed: int, dimension: int = DIMENSION) -> np.ndarray:
    """Points around fifty centres, of all lengths."""
    centres = np.random.default_rng(0).standard_normal((50, dimension))
    random = np.random.default_rng(seed)
    points = centres[random.integers(50, size=rows)] + 0.5 * random.standard_normal((rows, dimension))
    return (points * random.uniform(0.8, 1.2, (rows, 1))).astype(np.float32)


def names(rows: int, start: int = 0) -> list[str]:
    return [f"d{row}" for row in range(start, start + rows)]


def built(vectors, **settings) -> VectorIndex:
    index = VectorIndex(IndexSettings(**settings))
    index.add(vectors, names(len(vectors)))
    return index


def truth(queries: np.ndarray, vectors: np.ndarray, similarity: str) -> np.ndarray:
    """Similarities in float64, by their definitions."""
    q, x = queries.astype(np.float64), vectors.astype(np.float64)
    if similarity == "euclidean":
        return -np.sqrt(((q[:, None] - x[None]) ** 2).sum(axis=-1))
    if similarity == "cosine":
        q, x = (side / np.linalg.norm(side, axis=1, keepdims=True) for side in (q, x))
    return q @ x.T


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_exact_search_is_the_definition(similarity: str) -> None:
    vectors, queries = clustered(700, 1), clustered(40, 2)
    index = built(vectors, kind="exact", similarity=similarity)
    wanted = truth(queries, vectors, similarity)
    for ranking, row in zip(index.search(queries, 25), wanted, strict=True):
        order = np.argsort(-row)[:25]
        assert list(ranking.ids) == [f"d{place}" for place in order]
        np.testing.assert_allclose(ranking.scores, row[order], rtol=2e-6)


def test_equal_documents_are_ranked_by_id_descending_at_the_cut_too() -> None:
    vectors = np.concatenate([np.tile(clustered(1, 3), (3000, 1)), 0.1 * clustered(500, 4)])
    for similarity in SIMILARITIES:
        index = built(vectors, kind="exact", similarity=similarity)
        for ranking in index.search(np.tile(vectors[:1], (130, 1)), 5):
            assert len(set(ranking.scores.tolist())) == 1
            assert ranking.ids == tuple(sorted(names(3000), reverse=True)[:5])


@pytest.mark.parametrize("kind", BUILT)
def test_results_do_not_depend_on_threads_or_on_the_company_of_a_query(kind: str) -> None:
    import faiss

    vectors, queries = clustered(3000, 5), clustered(300, 6)
    before = faiss.omp_get_max_threads()
    found = []
    try:
        for threads in (1, 2, 4):
            faiss.omp_set_num_threads(threads)
            index = built(vectors, kind=kind)
            assert faiss.omp_get_max_threads() == threads
            rankings = index.search(queries, 30)
            found.append([(ranking.ids, ranking.scores.tobytes()) for ranking in rankings])
    finally:
        faiss.omp_set_num_threads(before)
    assert found[0] == found[1] == found[2]
    if kind == "exact":
        (alone,) = index.search(queries[7:8], 30)
        assert (alone.ids, alone.scores.tobytes()) == found[0][7]


@pytest.mark.parametrize("similarity", SIMILARITIES)
@pytest.mark.parametrize("kind", BUILT[1:])
def test_approximate_kinds_find_most_and_say_how_much(kind: str, similarity: str) -> None:
    vectors = clustered(2000, 7)
    index = built(vectors, kind=kind, similarity=similarity)
    least = {"pq": 0.3, "ivf": 0.5, "ivf_sq8": 0.5, "hnsw": 0.85, "sq8": 0.9}[kind]
    assert index.recall.queries == 200
    assert index.recall.vectors == 2000
    queries = clustered(50, 8)
    wanted = np.argsort(-truth(queries, vectors, similarity), axis=1)[:, :10]
    found = index.search(queries, 10)
    hits = [
        len({f"d{place}" for place in row} & set(ranking.ids))
        for row, ranking in zip(wanted, found, strict=True)
    ]
    assert np.mean(hits) / 10 > least
    assert index.recall.at_10 > least
    assert index.recall.at_10 == pytest.approx(np.mean(hits) / 10, abs=0.15)
    assert all((np.diff(ranking.scores) <= 0).all() for ranking in found)


def test_recall_is_measured_with_the_queries_that_are_given() -> None:
    vectors, queries = clustered(2000, 7), clustered(60, 8)
    index = VectorIndex(IndexSettings("ivf", "dot", effort=4))
    index.add(vectors, names(2000), queries=queries)
    wanted = np.argsort(-truth(queries, vectors, "dot"), axis=1)
    for depth, share in ((10, index.recall.at_10), (100, index.recall.at_100)):
        hits = [
            len({f"d{place}" for place in row[:depth]} & set(ranking.ids))
            for row, ranking in zip(wanted, index.search(queries, depth), strict=True)
        ]
        assert share == pytest.approx(np.mean(hits) / depth, abs=1e-4)
    assert index.recall.queries == 60
    with pytest.raises(EmbedmergeError, match="query vectors: 8 dimensions, the index has 32"):
        VectorIndex().add(vectors, names(2000), queries=clustered(5, 0, 8))


def test_recall_counts_equal_documents_as_found_whichever_they_are() -> None:
    vectors = np.repeat(clustered(30, 9), 40, axis=0)
    assert built(vectors, kind="hnsw", effort=300).recall.at_10 > 0.99


def test_more_effort_finds_more() -> None:
    vectors = clustered(3000, 10)
    for kind, efforts in (("ivf", (1, 64)), ("hnsw", (1, 500))):
        low, high = (built(vectors, kind=kind, effort=effort).recall.at_100 for effort in efforts)
        assert low < high


def test_auto_is_exact_as_long_as_that_is_affordable() -> None:
    index = built(clustered(300, 11))
    assert (index.kind, index.recall) == ("exact", None)
    assert IndexSettings().kind_for(1_398_101, 384) == "exact"
    assert IndexSettings().kind_for(1_398_102, 384) == "ivf_sq8"


def test_appended_vectors_are_found() -> None:
    vectors = clustered(1000, 12)
    for kind in BUILT:
        index = built(vectors[:800], kind=kind)
        index.add(vectors[800:], names(200, 800))
        assert len(index) == 1000
        assert (
            np.mean(
                [
                    ranking.ids[0] == f"d{800 + row}"
                    for row, ranking in enumerate(index.search(vectors[800:], 1))
                ]
            )
            > 0.7
        )
    whole, grown = built(vectors, kind="exact"), built(vectors[:1], kind="exact")
    grown.add(vectors[1:], names(999, 1))
    grown.add(vectors[:0], [])
    for one, other in zip(whole.search(vectors[:50], 9), grown.search(vectors[:50], 9), strict=True):
        assert one.ids == other.ids
        assert one.scores.tobytes() == other.scores.tobytes()


def test_k_beyond_the_corpus_is_the_corpus() -> None:
    vectors = clustered(300, 13)
    for kind in ("exact", "hnsw", "sq8", "pq"):
        assert {len(ranking.ids) for ranking in built(vectors, kind=kind).search(vectors[:3], 9999)} == {300}
    ranking = built(vectors, kind="ivf", effort=1).search(vectors[:1], 300)[0]
    assert 0 < len(ranking.ids) < 300


def test_one_vector_is_a_corpus_but_for_pq() -> None:
    for kind in BUILT[:-1]:
        assert built(clustered(1, 14), kind=kind).search(clustered(2, 15), 3)[1].ids == ("d0",)
    with pytest.raises(EmbedmergeError, match="'pq': 1 vectors, 256 are the least to train it; take exact"):
        built(clustered(1, 14), kind="pq")


def test_progress_counts_vectors() -> None:
    seen: list[tuple[int, int]] = []
    VectorIndex().add(clustered(9000, 16), names(9000), progress=lambda *each: seen.append(each))
    assert seen == [(8192, 9000), (9000, 9000)]


def test_candidates_are_scored_as_a_search_scores_them() -> None:
    vectors, queries = clustered(600, 17), clustered(4, 18)
    for kind in ("exact", "ivf", "hnsw"):
        index = built(vectors, kind=kind, similarity="cosine")
        (own, *_) = index.scores(queries, [["d3", "d599"], [], ["d7"], ["d0"]])
        np.testing.assert_allclose(own, truth(queries[:1], vectors, "cosine")[0, [3, 599]], rtol=1e-6)
    with pytest.raises(EmbedmergeError, match="the candidate 'nobody' is not in it"):
        index.scores(queries[:1], [["nobody"]])


def test_lengths_beyond_float32_squares_are_scaled_right() -> None:
    vectors = np.float32([[3e25, 4e25], [-3e-30, -4e-30], [0, 0]])
    index = built(vectors, kind="exact", similarity="cosine")
    (ranking,) = index.search(np.float32([[3e-28, 4e-28]]), 3)
    assert ranking.ids == ("d0", "d2", "d1")
    np.testing.assert_allclose(ranking.scores, [1, 0, -1], atol=1e-6)


def test_the_callers_vectors_are_left_alone() -> None:
    vectors = clustered(100, 19)
    kept = vectors.copy()
    index = built(vectors, similarity="cosine")
    index.search(vectors, 3)
    assert (vectors == kept).all()
    vectors[:] = 0
    assert index.search(kept[:1], 1)[0].ids == ("d0",)


def test_torch_half_and_double_are_taken() -> None:
    vectors = clustered(50, 20)
    wanted = built(vectors).search(vectors[:5], 3)
    for given in (
        torch.from_numpy(vectors),
        torch.from_numpy(vectors).requires_grad_(),
        vectors.astype(float),
    ):
        assert [ranking.ids for ranking in built(given).search(given[:5], 3)] == [r.ids for r in wanted]
    halved = built(torch.from_numpy(vectors).bfloat16()).search(torch.from_numpy(vectors[:5]).bfloat16(), 1)
    assert [ranking.ids[0] for ranking in halved] == names(5)


def test_a_memory_map_is_read_block_by_block(tmp_path, monkeypatch) -> None:
    vectors = clustered(20_000, 21)
    np.save(tmp_path / "vectors.npy", vectors)
    mapped = np.load(tmp_path / "vectors.npy", mmap_mode="r")
    largest = []
    own = np.array
    monkeypatch.setattr(
        "embedmerge.retrieval.index.incoming.np.array",
        lambda rows, **kwargs: largest.append(len(rows)) or own(rows, **kwargs),
    )
    index = built(mapped, kind="exact")
    assert max(largest) == 8192
    assert index.search(vectors[-3:], 1)[0].ids == ("d19997",)


@pytest.mark.parametrize(
    ("vectors", "ids", "says"),
    [
        (np.full((2, DIMENSION), np.nan), names(2), "NaN or infinity in row 0"),
        (np.array([[1.0] * DIMENSION, [1e300] * DIMENSION]), names(2), "NaN or infinity in row 1"),
        (clustered(2, 0), ["a", "a"], "the id 'a' occurs twice"),
        (clustered(1, 0), ["d5"], "the id 'd5' occurs twice"),
        (clustered(1, 0), [7], "the id 7 is not a string"),
        (clustered(2, 0), ["a"], "1 ids for 2 vectors"),
        (clustered(2, 0), [], "0 ids for 2 vectors"),
        (clustered(2, 0, 8), ["a", "b"], "8 dimensions, the index has 32"),
        (clustered(2, 0)[0], ["a"], r"shape \(32,\) of float32, not a matrix"),
        (np.array([["x"] * DIMENSION]), ["a"], "not a matrix of numbers"),
    ],
)
def test_bad_vectors_are_refused_whole(vectors, ids, says: str) -> None:
    own = clustered(50, 22)
    index = built(own)
    with pytest.raises(EmbedmergeError, match=says):
        index.add(vectors, ids)
    assert len(index) == 50
    assert index.search(own[:1], 99)[0].ids[0] == "d0"


def test_late_nan_leaves_nothing_behind() -> None:
    vectors = clustered(9000, 23)
    vectors[8999, 3] = np.nan
    index = VectorIndex()
    with pytest.raises(EmbedmergeError, match="row 8999"):
        index.add(vectors, names(9000))
    index.add(vectors[:10], names(10))
    assert len(index) == 10


def test_bad_searches_are_refused() -> None:
    index = built(clustered(50, 24))
    for queries, k, says in (
        (clustered(1, 0, 8), 1, "query vectors: 8 dimensions, the index has 32"),
        (np.full((1, DIMENSION), np.inf), 1, "query vectors: NaN or infinity in row 0"),
        (clustered(1, 0), 0, "k = 0"),
    ):
        with pytest.raises(EmbedmergeError, match=says):
            index.search(queries, k)
    assert index.search(clustered(0, 0), 5) == []
    with pytest.raises(EmbedmergeError, match="it is empty; add vectors first"):
        VectorIndex().search(clustered(1, 0), 1)
    with pytest.raises(EmbedmergeError, match="the corpus is empty"):
        VectorIndex().add(np.empty((0, 0)), [])


def test_an_interrupted_append_is_not_searched() -> None:
    index = built(clustered(100, 25))

    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        index.add(clustered(100, 26), names(100, 100), progress=interrupt)
    for use in (lambda: index.search(clustered(1, 0), 1), lambda: index.add(clustered(1, 0), ["x"])):
        with pytest.raises(EmbedmergeError, match="adding to it was interrupted"):
            use()


def test_settings_are_checked() -> None:
    for settings, says in (
        ({"kind": "hsnw"}, "did you mean 'hnsw'"),
        ({"similarity": "manhattan"}, "cosine, dot, euclidean"),
        ({"effort": 0}, "1 candidate at least"),
    ):
        with pytest.raises(EmbedmergeError, match=says):
            IndexSettings(**settings)


def test_sizes_of_parts() -> None:
    assert [number_of_lists(rows) for rows in (38, 78, 10_000)] == [1, 2, 256]
    assert [codes_per_vector(dimension) for dimension in (768, 1024, 7)] == [192, 256, 1]
