from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedmerge.errors import EmbedmergeError
from embedmerge.retrieval.collection import Collection
from embedmerge.weighting import pool as pool_module
from embedmerge.weighting.examples import Example
from embedmerge.weighting.pool import Pool, candidates_of, first_ranks


def collection(
    documents: list[tuple[str, str]], queries: list[str], qrels: list[dict[str, int]]
) -> Collection:
    corpus = [{"id": f"d{row}", "title": title, "text": text} for row, (title, text) in enumerate(documents)]
    asked = [{"id": f"q{row}", "text": text} for row, text in enumerate(queries)]
    judged = {f"q{row}": grades for row, grades in enumerate(qrels)}
    return Collection("made", "dev", corpus, asked, judged, "0", ())


def test_passages_of_examples_and_corpus_count_once() -> None:
    examples = [Example("q", ("a", "b"), ("c", "a2")), Example("r", ("c",), ("a",))]
    pool = Pool.of_examples(examples, ["b", "x"])
    assert sorted(pool.passages) == ["a", "a2", "b", "c", "x"]
    named = [{pool.passages[row]: grade for row, grade in grades.items()} for grades in pool.relevant]
    assert named == [{"a": 1, "b": 1}, {"c": 1}]
    assert [[pool.passages[row] for row in rows] for rows in pool.negatives] == [["c", "a2"], ["a"]]


@pytest.mark.parametrize(
    "examples",
    [
        [Example("q", ("a",))],
        [Example("q", ("a",)), Example("r", ("a",))],
        [Example("q", ("a", "a", "b"), ("b",))],
    ],
)
def test_an_example_without_a_negative_is_named_in_one_line(examples: list[Example]) -> None:
    with pytest.raises(EmbedmergeError) as caught:
        Pool.of_examples(examples)
    assert str(caught.value).startswith("examples: row 1 has no negative")
    assert "\n" not in str(caught.value)


def test_another_rows_passage_or_the_corpus_is_a_negative() -> None:
    Pool.of_examples([Example("q", ("a",)), Example("r", ("b",))])
    Pool.of_examples([Example("q", ("a",))], ["x"])


def test_a_collections_documents_have_their_title_first_and_count_once() -> None:
    pool = Pool.of_collection(
        collection(
            [("Rivers", "are wet"), ("", "a bank"), ("", "a bank"), ("", "birds")],
            ["wet?", "money?"],
            [{"d0": 2, "d3": 0}, {"d2": 1, "d0": -1}],
        )
    )
    assert pool.passages == ("Rivers are wet", "a bank", "birds")
    assert pool.relevant == ({0: 2}, {1: 1})
    assert pool.negatives == ((2,), (0,))


def test_of_one_text_under_two_ids_the_higher_grade_counts() -> None:
    pool = Pool.of_collection(
        collection([("", "a bank"), ("", "a bank"), ("", "birds")], ["money?"], [{"d0": 2, "d1": 1}])
    )
    assert pool.relevant == ({0: 2},)


def test_some_queries_keep_all_passages() -> None:
    pool = Pool.of_examples([Example(name, (f"{name} yes",), (f"{name} no",)) for name in "abc"])
    some = pool.of_rows([2, 0])
    assert some.queries == ("c", "a")
    assert some.passages == pool.passages
    assert [pool.passages[row] for grades in some.relevant for row in grades] == ["c yes", "a yes"]
    assert [pool.passages[row] for rows in some.negatives for row in rows] == ["c no", "a no"]


def test_some_passages_keep_their_meaning_under_new_numbers() -> None:
    pool = Pool.of_examples([Example("q", ("a",), ("b",)), Example("r", ("c",), ("d",))], ["e", "f"])
    rows = [pool.passages.index(text) for text in "dcbaf"]
    some = pool.of_passages(rows)
    assert some.passages == ("d", "c", "b", "a", "f")
    assert [some.passages[row] for grades in some.relevant for row in grades] == ["a", "c"]
    assert [some.passages[row] for own in some.negatives for row in own] == ["b", "d"]


@given(st.integers(1, 40), st.integers(1, 50), st.booleans(), st.integers(0, 1000))
@settings(deadline=None, max_examples=40)
def test_first_ranks_are_the_nearest_passages(number: int, depth: int, cosine: bool, seed: int) -> None:
    random = np.random.default_rng(seed)
    queries, passages = random.normal(size=(5, 6)), random.normal(size=(number, 6)) * 3
    found = first_ranks(queries.astype(np.float32), passages.astype(np.float32), cosine=cosine, depth=depth)
    scores = queries @ passages.T
    if cosine:
        scores /= np.linalg.norm(passages, axis=1)
    np.testing.assert_array_equal(found, np.argsort(-scores, axis=1)[:, :depth])


def test_first_ranks_may_be_found_a_few_queries_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(3)
    queries, passages = (random.normal(size=(number, 4)).astype(np.float32) for number in (7, 30))
    whole = first_ranks(queries, passages, depth=5)
    monkeypatch.setattr(pool_module, "AT_ONCE", 2)
    np.testing.assert_array_equal(first_ranks(queries, passages, depth=5), whole)


@st.composite
def pools(draw: st.DrawFn) -> tuple[Pool, list[np.ndarray]]:
    """A pool of up to four queries, and rankings by up to three sources."""
    number, queries = draw(st.integers(3, 12)), draw(st.integers(1, 4))
    rows = st.integers(0, number - 1)
    relevant = [
        dict.fromkeys(draw(st.lists(rows, min_size=1, max_size=3, unique=True)), 1) for _ in range(queries)
    ]
    negatives = [tuple(draw(st.lists(rows, max_size=4))) for _ in range(queries)]
    seed, sources = draw(st.integers(0, 99)), draw(st.integers(1, 3))
    random = np.random.default_rng(seed)
    depth = draw(st.integers(1, number))
    rankings = [
        np.stack([random.permutation(number)[:depth] for _ in range(queries)]) for _ in range(sources)
    ]
    texts = tuple(f"passage {row}" for row in range(number))
    return Pool(tuple(map(str, range(queries))), texts, tuple(relevant), tuple(negatives)), rankings


@given(pools(), st.one_of(st.none(), st.integers(0, 6)))
def test_candidates_are_the_relevant_ones_own_negatives_and_what_ranks_high(
    made: tuple[Pool, list[np.ndarray]], most: int | None
) -> None:
    pool, rankings = made
    candidates, relevance = candidates_of(pool, rankings, most)
    for query, row in enumerate(candidates):
        rows = row[row >= 0].tolist()
        assert len(set(rows)) == len(rows)
        assert (row[len(rows) :] == -1).all()  # filled up at the end alone
        relevant = list(pool.relevant[query])
        others = rows[len(relevant) :]
        assert rows[: len(relevant)] == relevant
        own = [each for each in dict.fromkeys(pool.negatives[query]) if each not in relevant]
        ranked = {int(each) for ranking in rankings for each in ranking[query]} - set(relevant)
        wanted = set(own) | ranked
        assert others[: len(own)] == own[: len(others)]
        if most is None:
            assert set(others) == wanted
        else:
            assert set(others) <= wanted
            assert len(others) == min(most, len(wanted))
        places = relevance.places[query]
        assert [row[place] for place in places if place >= 0] == relevant
        assert relevance.grades[query][places >= 0].tolist() == list(pool.relevant[query].values())
        assert (relevance.grades[query][places < 0] == 0).all()


def test_sources_take_turns_where_candidates_are_few() -> None:
    pool = Pool(("q",), tuple("abcdefgh"), ({0: 1},), ((7,),))
    rankings = [np.array([[1, 2, 3, 0]]), np.array([[4, 1, 5, 0]])]
    candidates, _ = candidates_of(pool, rankings, most=4)
    assert candidates.tolist() == [[0, 7, 1, 4, 2]]
