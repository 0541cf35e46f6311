from __future__ import annotations

import numpy as np
import pytest
import pytrec_eval
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logsumexp, rel_entr, softmax

from embedmerge.weighting.ranking import MANY, Relevance, divergence, infonce, ndcg_at, recall_at

MIXTURES, QUERIES = 3, 4
seeds = st.integers(0, 10_000)
widths = st.integers(2, 150)


def scores_of(seed: int, width: int) -> torch.Tensor:
    """Random scores, the last query having half as many candidates as the others."""
    scores = np.random.default_rng(seed).normal(size=(MIXTURES, QUERIES, width)).astype(np.float32)
    scores[:, -1, max(1, width // 2) :] = -np.inf
    return torch.from_numpy(scores)


def relevance_of(seed: int, width: int, highest: int) -> Relevance:
    """A few relevant candidates of each query, or many, at random places."""
    random = np.random.default_rng([seed, 1])
    most = min(5 if seed % 2 else 2 * MANY, max(1, width // 2))
    places, grades = np.full((QUERIES, most), -1), np.zeros((QUERIES, most), np.float32)
    for query in range(QUERIES):
        number = random.integers(1, most + 1)
        places[query, :number] = random.permutation(max(1, width // 2))[:number]
        grades[query, :number] = random.integers(1, highest + 1, number)
    return Relevance(places, grades)


def by_trec_eval(scores: torch.Tensor, relevance: Relevance, measure: str, name: str) -> np.ndarray:
    qrels = {
        f"q{query}": {
            f"d{place}": int(grade)
            for place, grade in zip(relevance.places[query], relevance.grades[query], strict=True)
            if place >= 0
        }
        for query in range(QUERIES)
    }
    evaluator = pytrec_eval.RelevanceEvaluator(qrels, {measure})
    rows = []
    for mixture in scores.numpy():
        run = {
            f"q{query}": {f"d{place}": float(score) for place, score in enumerate(row) if np.isfinite(score)}
            for query, row in enumerate(mixture)
        }
        found = evaluator.evaluate(run)
        rows.append([found[f"q{query}"][name] for query in range(QUERIES)])
    return np.array(rows)


@given(seeds, widths, st.sampled_from([1, 3]), st.sampled_from([1, 5, 10, 100]))
@settings(deadline=None)
def test_ndcg_is_trec_evals_query_by_query(seed: int, width: int, highest: int, k: int) -> None:
    scores, relevance = scores_of(seed, width), relevance_of(seed, width, highest)
    wanted = by_trec_eval(scores, relevance, f"ndcg_cut.{k}", f"ndcg_cut_{k}")
    np.testing.assert_allclose(ndcg_at(scores, relevance, k), wanted, atol=1e-6)


@given(seeds, widths, st.sampled_from([1, 5, 100]))
@settings(deadline=None)
def test_recall_is_trec_evals_query_by_query(seed: int, width: int, k: int) -> None:
    scores, relevance = scores_of(seed, width), relevance_of(seed, width, 3)
    wanted = by_trec_eval(scores, relevance, f"recall.{k}", f"recall_{k}")
    np.testing.assert_allclose(recall_at(scores, relevance, k), wanted, atol=1e-6)


def test_many_relevant_passages_are_ideal_up_to_k() -> None:
    scores = torch.linspace(1, 0, 30)[None, None]
    places = np.arange(20)[None]
    assert float(ndcg_at(scores, Relevance(places, np.ones((1, 20), np.float32)), 10)) == pytest.approx(1)
    assert float(recall_at(scores, Relevance(places, np.ones((1, 20), np.float32)), 10)) == 0.5


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_model_to_which_all_is_one_earns_nothing(value: float) -> None:
    scores = torch.full((1, 2, 101), value)
    relevance = Relevance(np.array([[0, 1], [7, -1]]), np.array([[1, 2], [1, 0]], np.float32))
    assert ndcg_at(scores, relevance).tolist() == [[0.0, 0.0]]
    assert recall_at(scores, relevance).tolist() == [[0.0, 0.0]]


def test_a_tie_counts_as_lost() -> None:
    scores = torch.tensor([[[0.9, 0.5, 0.5, 0.1]]])
    relevance = Relevance(np.array([[1]]), np.ones((1, 1), np.float32))
    assert float(ndcg_at(scores, relevance)) == pytest.approx(1 / np.log2(4))  # third, behind its equal
    assert float(recall_at(scores, relevance, 2)) == 0


@given(seeds, widths, st.sampled_from([0.05, 1.0]))
@settings(deadline=None)
def test_infonce_is_the_mean_over_positives_against_negatives_alone(
    seed: int, width: int, temperature: float
) -> None:
    scores, relevance = scores_of(seed, width), relevance_of(seed, width, 1)
    wanted = np.zeros((MIXTURES, QUERIES))
    for mixture, query in np.ndindex(wanted.shape):
        row = scores[mixture, query].numpy().astype(float)
        positives = [place for place in relevance.places[query] if place >= 0]
        negatives = [row[place] for place in range(width) if place not in positives]
        below = logsumexp(np.array(negatives) / temperature) if negatives else -np.inf
        own = row[positives] / temperature
        wanted[mixture, query] = np.mean(np.logaddexp(own, below) - own)
    found = infonce(scores, relevance, temperature)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)


def test_infonce_has_a_finite_gradient_where_candidates_are_missing_or_all_relevant() -> None:
    given = torch.tensor([[[0.5, 0.2, 0.0], [0.4, 0.1, 0.0]]]).requires_grad_()
    scores = given.masked_fill(torch.tensor([False, False, True]), -float("inf"))
    relevance = Relevance(np.array([[0, -1], [0, 1]]), np.array([[1, 0], [1, 1]], np.float32))
    losses = infonce(scores, relevance, 0.1)
    assert losses[0, 1].item() == 0  # nothing to be confused with
    losses.sum().backward()
    assert given.grad is not None
    near, far = torch.softmax(torch.tensor([5.0, 2.0]), dim=0)
    expected = torch.tensor([[(near - 1) / 0.1, far / 0.1, 0.0], [0.0, 0.0, 0.0]])
    torch.testing.assert_close(given.grad[0], expected)


@given(seeds, widths, st.sampled_from([0.05, 1.0]))
@settings(deadline=None)
def test_divergence_is_the_relative_entropy_of_softmaxed_scores(
    seed: int, width: int, temperature: float
) -> None:
    scores, reference = scores_of(seed, width), scores_of(seed + 1, width)[:1]
    wanted = np.zeros((MIXTURES, QUERIES))
    for mixture, query in np.ndindex(wanted.shape):
        present = np.isfinite(reference[0, query].numpy())
        expected, found = (
            softmax(side.numpy()[present].astype(float) / temperature)
            for side in (reference[0, query], scores[mixture, query])
        )
        wanted[mixture, query] = rel_entr(expected, found).sum()
    found = divergence(scores, reference, temperature).numpy()
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
    assert found.min() > -1e-5
    np.testing.assert_allclose(divergence(reference, reference, temperature), 0, atol=1e-6)


def test_the_gradient_of_the_divergence_is_that_of_softmaxes() -> None:
    given = torch.tensor([[[0.3, 0.1, 0.0]]]).requires_grad_()
    absent = torch.tensor([False, False, True])
    reference = torch.tensor([[[0.0, 0.2, -np.inf]]])
    divergence(given.masked_fill(absent, -float("inf")), reference, 0.5).sum().backward()
    wanted = (softmax([0.6, 0.2]) - softmax([0.0, 0.4])) / 0.5
    np.testing.assert_allclose(given.grad[0, 0], [*wanted, 0.0], atol=1e-6)
