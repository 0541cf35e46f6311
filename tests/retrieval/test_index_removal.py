from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from embedmerge.errors import EmbedmergeError
from embedmerge.retrieval.index import IndexSettings, VectorIndex

KINDS = ("exact", "hnsw", "ivf", "sq8", "ivf_sq8", "pq")
ROWS = 600


def vectors(rows: int = ROWS, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((rows, 16)).astype(np.float32)


def names(rows: int = ROWS) -> list[str]:
    return [f"d{row}" for row in range(rows)]


def built(kind: str, keep: np.ndarray | None = None, similarity: str = "cosine") -> VectorIndex:
    index = VectorIndex(IndexSettings(kind, similarity))
    kept = np.arange(ROWS) if keep is None else keep
    index.add(vectors()[kept], [names()[row] for row in kept])
    return index


def answers(index: VectorIndex, k: int = 12) -> list[tuple]:
    return [(ranking.ids, ranking.scores.tobytes()) for ranking in index.search(vectors(30, 1), k)]


@pytest.mark.parametrize("similarity", ["cosine", "euclidean"])
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_left_is_found_as_before(kind: str, similarity: str) -> None:
    index = built(kind, similarity=similarity)
    gone = set(names()[::7])
    expected = [
        [
            (name, score)
            for name, score in zip(ranking.ids, ranking.scores.tolist(), strict=True)
            if name not in gone
        ]
        for ranking in index.search(vectors(30, 1), ROWS)
    ]
    index.remove(sorted(gone))
    assert len(index) == ROWS - len(gone)
    assert list(index.ids) == [name for name in names() if name not in gone]
    for wanted, ranking in zip(expected, index.search(vectors(30, 1), 12), strict=True):
        found = list(zip(ranking.ids, ranking.scores.tolist(), strict=True))
        if kind == "hnsw":  # another graph, which may find others
            assert len(dict(found[:10]).keys() & dict(wanted[:10]).keys()) >= 8
        else:
            assert found == wanted[: len(found)]


@pytest.mark.parametrize("kind", ["exact", "hnsw"])
def test_it_is_the_index_of_what_is_left(kind: str, tmp_path: Path) -> None:
    index, kept = built(kind), np.setdiff1d(np.arange(ROWS), [0, 5, 17, ROWS - 1])
    index.remove(["d17", "d5", "d0", f"d{ROWS - 1}"])
    index.save(tmp_path / "thinned")
    built(kind, kept).save(tmp_path / "fresh")
    assert (tmp_path / "thinned" / "index.faiss").read_bytes() == (
        tmp_path / "fresh" / "index.faiss"
    ).read_bytes()


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_saved_grows_and_knows_its_rows(kind: str, tmp_path: Path) -> None:
    index = built(kind)
    index.scores(vectors(1, 1), [["d3"]])  # lists keep a map of rows from then on
    index.remove(["d3", "d4"])
    index.add(vectors(20, 2), [f"new{row}" for row in range(20)])
    index.remove(["d100", "new0"])
    index.add(vectors()[3:5], ["d3", "d4"])
    index.save(tmp_path / "index")
    loaded = VectorIndex.load(tmp_path / "index")
    assert answers(loaded) == answers(index)
    assert len(loaded) == ROWS + 18
    assert loaded.search(vectors()[3:4], 1)[0].ids == ("d3",)
    near, far = loaded.scores(vectors()[3:4], [["d3", "d9"]])[0]
    assert near > 0.9 > far


def test_bad_ids_take_nothing_out() -> None:
    index = built("exact")
    with pytest.raises(EmbedmergeError, match="'nobody' is not in it"):
        index.remove(["d1", "nobody"])
    with pytest.raises(EmbedmergeError, match="nothing would be left"):
        index.remove(names())
    index.remove([])
    assert len(index) == ROWS
    assert answers(index) == answers(built("exact"))
