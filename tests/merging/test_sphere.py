from __future__ import annotations

import numpy as np
import pytest

from embedmerge.merging import sphere
from embedmerge.merging.anatomy import Site
from embedmerge.merging.part import Part

pytestmark = pytest.mark.filterwarnings("error")


@pytest.fixture
def tensors():
    random = np.random.default_rng(0)
    return [random.standard_normal((4, 10)).astype(np.float32) for _ in range(3)]


def gram_of(tensors):
    return np.array([[np.vdot(a.astype(np.float64), b) for b in tensors] for a in tensors])


def test_lengths_and_cosines_come_from_inner_products(tensors):
    gram = gram_of(tensors)
    np.testing.assert_allclose(sphere.norms(gram), [np.linalg.norm(tensor) for tensor in tensors], rtol=1e-6)
    wanted = np.vdot(tensors[0], tensors[2]) / np.linalg.norm(tensors[0]) / np.linalg.norm(tensors[2])
    np.testing.assert_allclose(sphere.cosines(gram)[0, 2], wanted, rtol=1e-5)
    np.testing.assert_allclose(np.diagonal(sphere.cosines(gram)), 1)


def test_rows_have_grams_and_coefficients_of_their_own(tensors):
    grams = sphere.row_gram(tensors)
    assert grams.shape == (4, 3, 3)
    for row, gram in enumerate(grams):
        rows = [tensor[row] for tensor in tensors]
        np.testing.assert_allclose(gram, gram_of(rows), rtol=1e-6)
        np.testing.assert_allclose(sphere.cosines(grams)[row], sphere.cosines(gram_of(rows)), rtol=1e-6)
    coefficients = np.arange(12.0).reshape(4, 3)
    wanted = np.einsum("rn,nrc->rc", coefficients, np.stack(tensors))
    np.testing.assert_allclose(sphere.combination(tensors, coefficients), wanted, rtol=1e-4, atol=1e-4)


def test_a_cosine_never_leaves_its_bounds():
    random = np.random.default_rng(1)
    for _ in range(50):
        vector = random.standard_normal(1000)
        assert np.abs(sphere.cosines(gram_of([vector, 3 * vector, -vector]))).max() <= 1


def test_a_zero_has_no_direction_and_counts_for_none(tensors):
    gram = gram_of([tensors[0], np.zeros_like(tensors[0])])
    assert sphere.cosines(gram)[0, 1] == 0
    np.testing.assert_allclose(
        sphere.mean_direction(gram, [0.5, 0.5]), [1 / np.linalg.norm(tensors[0]), 0], 1e-6
    )
    np.testing.assert_array_equal(sphere.slerp(gram, 0.25), [0.75, 0.25])


@pytest.mark.parametrize("weights", [[0.2, 0.3, 0.5], [1, 0, 0], [1.5, -0.25, -0.25]])
def test_directions_have_length_one(tensors, weights):
    gram = gram_of(tensors)
    for direction in (
        sphere.mean_direction(gram, weights),
        sphere.karcher_direction(gram, weights, 10, 1e-9),
    ):
        np.testing.assert_allclose(direction @ gram @ direction, 1, rtol=1e-9)


@pytest.mark.parametrize("seed", range(20))
def test_vectors_that_cancel_out_have_no_mean_direction(seed):
    vector = np.random.default_rng(seed).standard_normal(50)
    gram = gram_of([vector, -(seed + 0.3) * vector])
    direction = sphere.mean_direction(gram, [0.5, 0.5])
    assert not direction.any()
    assert not sphere.karcher_direction(gram, [0.5, 0.5], 10, 1e-9).any()
    np.testing.assert_array_equal(sphere.of_mean_length(direction, gram, [0.5, 0.5]), [0.5, 0.5])


def test_task_vectors_turn_round_where_the_weight_is_negative():
    sources = tuple(np.full(2, value, np.float32) for value in (1, 3, 4))
    part = Part(Site("w", (2,)), sources, (0.9, -0.2, 0.3))
    first, second = sphere.turned_task_vectors(part)
    assert first.tolist() == [-2, -2]
    assert second.tolist() == [3, 3]
