from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from matrices import AVERAGED, SHAPES, experts, low_rank_experts, merge, task_vectors

merged = partial(merge, "wudi")


def gradient(m, matrices):
    """Of Σ ‖(M - Tᵢ) Tᵢᵀ‖²/‖Tᵢ‖² at M."""
    return sum(2 * (m - t) @ t.T @ t / np.sum(t**2) for t in matrices)


def wudi(matrices):
    """Where the gradient is zero, as a least-squares problem of the rows of all experts."""
    rows = np.vstack([t / np.linalg.norm(t) for t in matrices])
    wanted = np.hstack([t @ t.T / np.linalg.norm(t) for t in matrices])
    return np.linalg.lstsq(rows, wanted.T, rcond=1e-9)[0].T


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("number", [1, 2, 3, 5])
def test_is_the_least_squares_solution(shape, number):
    tensors = experts(shape, number)
    np.testing.assert_allclose(merged(tensors), tensors[0] + wudi(task_vectors(tensors)), atol=2e-5)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("number", [2, 3, 5])
def test_the_gradient_vanishes_there(shape, number):
    tensors = experts(shape, number)
    matrices = task_vectors(tensors)
    average = np.mean(matrices, axis=0)
    assert np.abs(gradient(merged(tensors) - tensors[0], matrices)).max() < 1e-4
    assert np.abs(gradient(average, matrices)).max() > 0.1


@pytest.mark.parametrize("tensors", [experts((4, 6), 2), experts((8, 5), 3), low_rank_experts((6, 9), 2, 2)])
def test_is_where_gradient_descent_from_the_sum_goes(tensors):
    matrices = task_vectors(tensors)
    m = sum(matrices)
    curvature = 2 * np.linalg.eigvalsh(sum(t.T @ t / np.sum(t**2) for t in matrices))[-1]
    for _ in range(6_000):
        m = m - gradient(m, matrices) / curvature
    np.testing.assert_allclose(merged(tensors) - tensors[0], m, atol=2e-4)


@pytest.mark.parametrize("shape", SHAPES)
def test_weights_are_factors_of_the_experts_and_of_the_whole(shape):
    tensors = experts(shape, 3)
    first, second, third = task_vectors(tensors)
    wanted = tensors[0] + 0.5 * wudi([1.8 * first, 0.6 * second, 0.6 * third])
    np.testing.assert_allclose(merged(tensors, [0.5, 0.3, 0.1, 0.1]), wanted, atol=2e-5)


def test_a_negative_weight_turns_an_expert_round():
    tensors = experts((6, 9), 2)
    first, second = task_vectors(tensors)
    wanted = tensors[0] + 0.8 * wudi([1.25 * first, -0.75 * second])
    np.testing.assert_allclose(merged(tensors, [0.8, 0.5, -0.3]), wanted, atol=1e-5)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("shape", [*SHAPES, (3, 12)])
@pytest.mark.parametrize("number", [1, 2, 3])
def test_inputs_that_no_low_rank_expert_sees_stay_as_they_are(shape, number):
    tensors = low_rank_experts(shape, number, 2)
    found = merged(tensors) - tensors[0]
    np.testing.assert_allclose(found, wudi(task_vectors(tensors)), atol=2e-5)
    *_, rows = np.linalg.svd(np.vstack(task_vectors(tensors)))
    unseen = rows[2 * number :]
    np.testing.assert_allclose(found @ unseen.T, 0, atol=2e-5)


def test_experts_that_see_nothing_of_each_other_s_inputs_add_up():
    base = np.zeros((3, 4))
    first, second = base.copy(), base.copy()
    first[:, :2], second[:, 2:] = [[1, 2], [3, 4], [5, 7]], [[8, 1], [0, 2], [1, 1]]
    np.testing.assert_allclose(merged([base, first, second]), first + second, atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("rank", [0.0, 0.34, 0.67])
def test_outside_the_largest_directions_it_is_the_mean(shape, rank):
    tensors = experts(shape, 3)
    matrices = task_vectors(tensors)
    c = sum(t.T @ t / np.sum(t**2) for t in matrices)
    d = sum(t @ t.T @ t / np.sum(t**2) for t in matrices)
    values, vectors = np.linalg.eigh(c)
    v = vectors[:, shape[1] - round(rank * shape[1]) :]
    mean = np.mean(matrices, axis=0)
    wanted = mean - mean @ v @ v.T + d @ v @ np.diag(1 / values[shape[1] - v.shape[1] :]) @ v.T
    np.testing.assert_allclose(merged(tensors, rank=rank), tensors[0] + wanted, atol=2e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_one_expert_alone_or_twice_comes_out_as_it_is(shape):
    base, expert = experts(shape, 1)
    np.testing.assert_allclose(merged([base, expert]), expert, atol=2e-5)
    np.testing.assert_allclose(merged([base, expert, expert]), expert, atol=2e-5)


@pytest.mark.filterwarnings("error")
def test_experts_equal_to_the_base_or_opposite_to_each_other():
    base, first, second = experts((9, 6), 2)
    np.testing.assert_allclose(merged([base, first, base, second]), merged([base, first, second]), atol=1e-5)
    assert merged([base, base, base]).tolist() == base.tolist()
    np.testing.assert_allclose(merged([base, first, 2 * base - first]), base, atol=1e-5)


def test_the_order_of_the_experts_does_not_matter():
    base, *rest = experts((6, 9), 3)
    np.testing.assert_allclose(merged([base, *rest]), merged([base, *rest[::-1]]), atol=2e-5)


@pytest.mark.parametrize(("name", "shape"), AVERAGED)
def test_lookup_tables_and_vectors_are_averaged(name, shape):
    tensors = experts(shape, 2)
    wanted = 0.2 * tensors[0] + 0.5 * tensors[1] + 0.3 * tensors[2]
    np.testing.assert_allclose(merged(tensors, [0.2, 0.5, 0.3], name), wanted, atol=1e-6)
