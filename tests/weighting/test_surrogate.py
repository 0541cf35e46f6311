from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from embedmerge.weighting import surrogate
from embedmerge.weighting.mesh import Mesh
from embedmerge.weighting.surrogate import PairScores, mesh_features


def texts(seed: int, features: int, number: int, dimension: int = 7) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(features, number, dimension)).astype(np.float32)


def explicit(
    weights: np.ndarray, queries: np.ndarray, passages: np.ndarray, candidates: np.ndarray, *, cosine: bool
) -> np.ndarray:
    """Mix the embeddings, then compare them one by one."""
    scores = np.full((len(weights), *candidates.shape), -np.inf)
    for mixture, row in enumerate(weights.astype(float)):
        own, others = (np.tensordot(row, side.astype(float), axes=1) for side in (queries, passages))
        for query, places in enumerate(candidates):
            for column, place in enumerate(places):
                if place >= 0:
                    product = own[query] @ others[place]
                    lengths = np.linalg.norm(own[query]) * np.linalg.norm(others[place])
                    scores[mixture, query, column] = product / lengths if cosine else product
    return scores


@given(st.integers(1, 6), st.integers(1, 5), st.integers(1, 8), st.booleans(), st.integers(0, 1000))
@settings(deadline=None, max_examples=40)
def test_scores_are_those_of_the_mixed_embeddings(
    features: int, number: int, width: int, cosine: bool, seed: int
) -> None:
    random = np.random.default_rng(seed)
    queries, passages = texts(seed, features, number), texts(seed + 1, features, 9)
    candidates = random.integers(-1, 9, size=(number, width))  # -1 fills up
    weights = random.normal(size=(4, features)).astype(np.float32)
    found = PairScores(queries, passages, candidates, cosine=cosine)(torch.from_numpy(weights))
    wanted = explicit(weights, queries, passages, candidates, cosine=cosine)
    np.testing.assert_array_equal(np.isneginf(found), np.isneginf(wanted))
    np.testing.assert_allclose(found, wanted, atol=2e-4, rtol=2e-4)


def test_the_work_may_be_cut_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    queries, passages = texts(0, 3, 10), texts(1, 3, 12)
    candidates = np.random.default_rng(2).integers(-1, 12, size=(10, 5))
    weights = torch.from_numpy(texts(3, 6, 3)[:, :, 0])
    whole = PairScores(queries, passages, candidates)(weights)
    monkeypatch.setattr(surrogate, "ELEMENTS_AT_ONCE", 150)
    cut = PairScores(queries, passages, candidates)
    assert list(cut.batches(7)) == [slice(0, 3), slice(3, 6), slice(6, 7)]  # of 50 scores each
    torch.testing.assert_close(cut(weights), whole)


@pytest.mark.parametrize("cosine", [True, False])
def test_the_gradient_is_that_of_finite_differences(cosine: bool) -> None:
    queries, passages = texts(4, 3, 4), texts(5, 3, 6)
    candidates = np.array([[0, 1, 2], [3, 4, -1], [5, -1, -1], [2, 0, 5]])
    scores = PairScores(queries, passages, candidates, cosine=cosine)
    weights = np.array([[0.5, 0.2, 0.3]], dtype=np.float32)
    present = candidates >= 0
    importance = np.random.default_rng(6).normal(size=candidates.shape) * present

    def total(row: np.ndarray) -> float:
        found = explicit(row, queries, passages, candidates, cosine=cosine)[0]
        return float((np.where(present, found, 0) * importance).sum())

    features = torch.from_numpy(weights).requires_grad_()
    found = scores(features)[0].masked_fill(torch.from_numpy(~present), 0.0)
    (gradient,) = torch.autograd.grad((found * torch.from_numpy(importance).float()).sum(), features)
    steps = 1e-5 * np.eye(3)
    wanted = [(total(weights + step) - total(weights - step)) / 2e-5 for step in steps]
    np.testing.assert_allclose(gradient[0], wanted, rtol=1e-3, atol=1e-3)


def test_a_model_of_nothing_but_zeros_has_finite_scores() -> None:
    queries, passages = np.zeros((2, 1, 4), np.float32), np.ones((2, 3, 4), np.float32)
    found = PairScores(queries, passages, np.array([[0, 1, 2]]))(torch.tensor([[0.5, 0.5]]))
    assert found.tolist() == [[[0.0, 0.0, 0.0]]]


def test_features_are_the_corners_and_how_far_midpoints_are_off_the_line() -> None:
    corners = [np.full((2, 3), value, np.float32) for value in (1.0, 3.0, 7.0)]
    middle = np.full((2, 3), 6.0, np.float32)
    features = mesh_features(Mesh.of(3).with_midpoints([(1, 2)]), corners, [middle])
    assert features.dtype == np.float32
    assert features[:, 0, 0].tolist() == [1.0, 3.0, 7.0, 6.0 - (3.0 + 7.0) / 2]


def test_a_quadratic_embedding_is_scored_as_it_is() -> None:
    """Embeddings that are quadratic in the weights leave the approximation nothing to miss."""
    random = np.random.default_rng(8)
    square = random.normal(size=(3, 3, 5, 4))  # texts, dimension

    def embeddings(weights: np.ndarray) -> np.ndarray:
        return np.einsum("s,t,stnd->nd", weights, weights, square).astype(np.float32)

    mesh = Mesh.of(3)
    mesh = mesh.with_midpoints(mesh.edges)
    features = mesh_features(
        mesh,
        [embeddings(corner) for corner in np.eye(3)],
        [embeddings(mesh.middle(edge)) for edge in mesh.edges],
    )
    weights = np.array([0.2, 0.5, 0.3])
    candidates = np.array([[2, 3, 4], [4, 3, 2]])
    scores = PairScores(features[:, :2], features, candidates)
    found = scores(torch.from_numpy(mesh.features(weights[None])).float())[0]
    true = embeddings(weights)
    true /= np.linalg.norm(true, axis=1, keepdims=True)
    wanted = [[true[query] @ true[row] for row in rows] for query, rows in enumerate(candidates)]
    np.testing.assert_allclose(found, wanted, atol=1e-5)
