from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from matrices import AVERAGED, SHAPES, experts, low_rank_experts, merge, task_vectors

merged = partial(merge, "opcm")


def opcm(matrices, alpha=0.5):
    """Expert after expert with full decompositions, rescaled to the running mean norm and back every time."""
    merged, scale = matrices[0], 1.0
    for count, task_vector in enumerate(matrices[1:], 2):
        u, s, vt = np.linalg.svd(merged)
        projected = u.T @ task_vector @ vt.T
        split = int((np.cumsum(s) / s.sum() <= alpha).sum())
        projected[:split, :split] = 0
        known = s > 1e-9 * s[0]  # along a null direction there is nothing to be protected
        np.fill_diagonal(projected, np.where(known, 0, projected.diagonal()))
        added = scale * merged + u @ projected @ vt
        scale = np.linalg.norm(added) / np.mean([np.linalg.norm(each) for each in matrices[:count]])
        merged = added / scale
    return merged


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("number", [1, 2, 3, 5])
@pytest.mark.parametrize("alpha", [0.5, 0.2, 0.9])
def test_is_the_algorithm_on_whole_matrices(shape, number, alpha):
    tensors = experts(shape, number)
    wanted = tensors[0] + opcm(task_vectors(tensors), alpha)
    np.testing.assert_allclose(merged(tensors, alpha=alpha), wanted, atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_merged_matrix_has_the_mean_norm_of_its_experts(shape):
    tensors = experts(shape, 3)
    norms = [np.linalg.norm(matrix) for matrix in task_vectors(tensors)]
    assert np.linalg.norm(merged(tensors) - tensors[0]) == pytest.approx(np.mean(norms), rel=1e-5)


def test_the_order_of_the_experts_matters():
    base, *rest = experts((6, 9), 3)
    one, other = merged([base, *rest]), merged([base, *rest[::-1]])
    assert np.abs(one - other).max() > 0.05
    np.testing.assert_allclose(other, base + opcm([tensor - base for tensor in rest[::-1]]), atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_what_is_protected_of_the_first_expert_changes_in_length_alone(shape):
    tensors = experts(shape, 2)
    first, _ = task_vectors(tensors)
    u, s, vt = np.linalg.svd(first, full_matrices=False)
    leading = int((np.cumsum(s) <= 0.7 * s.sum()).sum())
    assert leading > 1
    found = u.T @ (merged(tensors, alpha=0.7) - tensors[0]) @ vt.T
    length = found[0, 0] / s[0]
    np.testing.assert_allclose(found[:leading, :leading], length * np.diag(s[:leading]), atol=1e-5)
    np.testing.assert_allclose(found.diagonal(), length * s, atol=1e-5)


def test_with_all_directions_protected_the_second_adds_what_the_first_does_not_see():
    tensors = experts((3, 9), 2)
    first, second = task_vectors(tensors)
    *_, seen = np.linalg.svd(first, full_matrices=False)
    added = first + second @ (np.eye(9) - seen.T @ seen)
    norm = (np.linalg.norm(first) + np.linalg.norm(second)) / 2
    wanted = tensors[0] + added * norm / np.linalg.norm(added)
    np.testing.assert_allclose(merged(tensors, alpha=1), wanted, atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_weights_are_factors_of_the_experts_and_of_the_whole(shape):
    tensors = experts(shape, 3)
    first, second, third = task_vectors(tensors)
    wanted = tensors[0] + 0.5 * opcm([1.8 * first, 0.6 * second, 0.6 * third])
    np.testing.assert_allclose(merged(tensors, [0.5, 0.3, 0.1, 0.1]), wanted, atol=1e-5)


def test_a_negative_weight_turns_an_expert_round():
    tensors = experts((6, 9), 2)
    first, second = task_vectors(tensors)
    wanted = tensors[0] + 0.8 * opcm([1.25 * first, -0.75 * second])
    np.testing.assert_allclose(merged(tensors, [0.8, 0.5, -0.3]), wanted, atol=1e-5)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("shape", SHAPES)
def test_null_directions_of_low_rank_experts_take_nothing_from_the_next(shape):
    tensors = low_rank_experts(shape, 2, 2)
    base, products = tensors[0], task_vectors(tensors)
    found = merged(tensors)
    np.testing.assert_allclose(found, base + opcm(products), atol=1e-5)


def test_experts_without_common_directions_add_up():
    base = np.zeros((4, 4))
    first, second = np.diag([3.0, 1, 0, 0]), np.diag([0.0, 0, 1, 2])
    added = first + second
    norm = (np.linalg.norm(first) + np.linalg.norm(second)) / 2
    np.testing.assert_allclose(merged([base, first, second]), added * norm / np.linalg.norm(added), atol=1e-6)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("shape", SHAPES)
def test_experts_identical_opposite_and_equal_to_the_base(shape):
    base, first, second = experts(shape, 2)
    for others in ([], [first], [first, first], [2 * base - first]):
        np.testing.assert_allclose(merged([base, first, *others]), first, atol=1e-5)
    np.testing.assert_allclose(merged([base, base, first]), first, atol=1e-5)
    np.testing.assert_allclose(merged([base, first, base, second]), merged([base, first, second]), atol=1e-5)
    assert merged([base, base, base]).tolist() == base.tolist()


@pytest.mark.parametrize(("name", "shape"), AVERAGED)
def test_lookup_tables_and_vectors_are_averaged(name, shape):
    tensors = experts(shape, 2)
    wanted = 0.2 * tensors[0] + 0.5 * tensors[1] + 0.3 * tensors[2]
    np.testing.assert_allclose(merged(tensors, [0.2, 0.5, 0.3], name), wanted, atol=1e-6)
