from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import rel_entr, softmax

from embedmerge.weighting.ground import Preservation, Retrieval
from embedmerge.weighting.pool import Pool


def vectors(seed: int, number: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(number, 6)).astype(np.float32)


@given(st.integers(2, 700))
@settings(deadline=None, max_examples=40)
def test_every_text_competes_with_all_others_of_its_batch_and_not_with_itself(number: int) -> None:
    ground = Preservation("made", [f"text {row}" for row in range(number)])
    settled = ground.settle([(vectors(0, number), vectors(1, number))])
    assert settled.kept.tolist() == list(range(number))
    assert len(settled.candidates) == number
    batches = {}
    for text, row in enumerate(settled.candidates):
        others = row[row >= 0].tolist()
        assert text not in others
        batches.setdefault(frozenset([*others, text]), []).append(text)
    assert all(sorted(members) == texts for members, texts in batches.items())
    sizes = [len(batch) for batch in batches]
    assert sum(sizes) == number
    assert max(sizes) <= 192
    assert number < 128 or min(sizes) >= 64
    assert all(texts == list(range(texts[0], texts[-1] + 1)) for texts in batches.values())  # neighbours


def retrieval() -> Retrieval:
    """Three queries among forty passages, of which every source ranks the first hundred, so all."""
    relevant = ({3: 1, 9: 2}, {0: 1}, {39: 1})
    return Retrieval(
        "made", Pool(("a", "b", "c"), tuple(f"p{row}" for row in range(40)), relevant, ((5,), (), (1, 2)))
    )


def test_labelled_candidates_point_to_the_right_passages() -> None:
    ground = Retrieval("made", retrieval().pool, most=4)
    embedded = [(vectors(seed, 3), vectors(seed + 1, 40)) for seed in (0, 2)]
    settled = ground.settle(embedded)
    assert settled.kept.tolist() == sorted(set(settled.kept.tolist()))
    assert len(settled.kept) < 40
    for query, row in enumerate(settled.candidates):
        rows = [int(settled.kept[place]) for place in row if place >= 0]
        relevant, own = list(ground.pool.relevant[query]), list(ground.pool.negatives[query])
        assert rows[: len(relevant) + len(own)] == relevant + own
        assert len(rows) == len(relevant) + 4
        firsts = set()
        for queries, passages in embedded:
            scores = queries[query] @ passages.T / np.linalg.norm(passages, axis=1)
            firsts |= set(np.argsort(-scores)[:8].tolist())
        assert set(rows[len(relevant) + len(own) :]) <= firsts
        places = settled.relevance.places[query]
        assert [rows[place] for place in places if place >= 0] == relevant


def test_the_whole_pool_competes_where_it_is_small() -> None:
    settled = retrieval().settle([(vectors(0, 3), vectors(1, 40))])
    assert settled.kept.tolist() == list(range(40))
    assert [sorted(settled.kept[row]) for row in settled.candidates] == [list(range(40))] * 3
    assert (settled.candidates >= 0).all()


def test_dot_products_rank_by_length_too() -> None:
    queries, passages = np.ones((1, 2), np.float32), np.array([[1, 1], [9, 0]] + [[-1, -1]] * 6, np.float32)
    pool = Pool(("q",), tuple(map(str, range(8))), ({7: 1},), ((),))
    cosine, dot = (
        Retrieval("made", pool, most=1).settle([(queries, passages)], cosine=cosine)
        for cosine in (True, False)
    )
    assert cosine.kept.tolist() == [0, 7]
    assert dot.kept.tolist() == [1, 7]


def test_retrieval_is_valued_in_points_and_losses_in_negated_nats() -> None:
    settled = Retrieval("made", Pool(("q",), ("a", "b", "c"), ({0: 1},), ((1, 2),)), temperature=0.5).settle(
        [(vectors(0, 1), vectors(1, 3))]
    )
    scores = torch.tensor([[[0.2, 0.4, 0.1]]])
    assert float(settled.values(scores, scores, "ndcg_at_10")) == pytest.approx(100 / np.log2(3))
    assert float(settled.values(scores, scores, "recall_at_100")) == 100
    loss = -np.log(softmax(np.array([0.2, 0.4, 0.1]) / 0.5)[0])
    assert float(settled.values(scores, scores, "loss")) == pytest.approx(-loss)
    assert settled.nothing(scores).tolist() == [0.0]


def test_preservation_is_valued_by_the_divergence_from_the_base() -> None:
    settled = Preservation("made", ["a", "b", "c"], temperature=0.5).settle([(vectors(0, 3), vectors(1, 3))])
    assert settled.candidates.tolist() == [[-1, 1, 2], [0, -1, 2], [0, 1, -1]]
    absent = torch.from_numpy(settled.candidates < 0)
    base, other = (
        torch.from_numpy(vectors(seed, 3)[None, :, :3]).masked_fill(absent, -float("inf")) for seed in (4, 5)
    )
    wanted, uniform = [], []
    for query, row in enumerate(settled.candidates):
        present = row >= 0
        expected = softmax(base[0, query].numpy()[present] / 0.5)
        found = softmax(other[0, query].numpy()[present] / 0.5)
        wanted.append(-rel_entr(expected, found).sum())
        uniform.append(-rel_entr(expected, np.full(2, 0.5)).sum())
    np.testing.assert_allclose(settled.values(other, base, "ndcg_at_10")[0], wanted, rtol=1e-5)
    np.testing.assert_allclose(settled.values(base, base, "ndcg_at_10")[0], 0, atol=1e-7)
    np.testing.assert_allclose(settled.nothing(base), uniform, rtol=1e-5)
