from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from matrices import AVERAGED, SHAPES, experts, low_rank_experts, merge, polar, task_vectors

merged = partial(merge, "dc_merge")


def smoothed(s, smoothing, rho):
    if smoothing == "average":
        return np.full_like(s, s.mean())
    if smoothing == "linear":
        slope = np.linspace(min(rho, s[0] / s[-1]), 1, len(s))
        return s.sum() * slope / slope.sum()
    return s


def kept(coordinates, density):
    count = max(1, int(density * coordinates.size + 1e-9))
    least = np.sort(np.abs(coordinates), axis=None)[-count]
    return np.where(np.abs(coordinates) >= least - 1e-12, coordinates, 0)


def elected(values):
    """Mean of those of one coordinate that have the sign of their sum."""
    agreeing = [value for value in values if value * sum(values) > 1e-12]
    return np.mean(agreeing) if agreeing else 0.0


def dc_merge(matrices, density=1e-3, smoothing="none", rho=5.0, rank=None):
    """Cover bases, coordinates, the largest kept, signs elected, blocks on the diagonal, and back."""
    rank = rank or min(matrices[0].shape) // len(matrices)
    svds = [np.linalg.svd(matrix, full_matrices=False) for matrix in matrices]
    u = polar(np.hstack([u[:, :rank] for u, _, _ in svds]))
    vt = polar(np.vstack([vt[:rank] for _, _, vt in svds]))
    parts = [u[:, :rank] @ np.diag(smoothed(s[:rank], smoothing, rho)) @ vt[:rank] for u, s, vt in svds]
    coordinates = np.stack([kept(u.T @ part @ vt.T, density) for part in parts])
    m = np.apply_along_axis(elected, 0, coordinates)
    blocks = np.kron(np.eye(len(matrices)), np.ones((rank, rank)))
    return u @ (m * blocks) @ vt


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("number", [1, 2, 3, 5])
@pytest.mark.parametrize("density", [1e-3, 0.3, 1])
def test_is_the_construction_on_whole_matrices(shape, number, density):
    tensors = experts(shape, number)
    wanted = tensors[0] + dc_merge(task_vectors(tensors), density)
    np.testing.assert_allclose(merged(tensors, density=density), wanted, atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("smoothing", "rho"), [("average", 5), ("linear", 5), ("linear", 1.5)])
def test_singular_values_may_be_smoothed(shape, smoothing, rho):
    tensors = experts(shape, 2)
    wanted = tensors[0] + dc_merge(task_vectors(tensors), 0.4, smoothing, rho)
    found = merged(tensors, density=0.4, smoothing=smoothing, rho=rho)
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    assert np.abs(found - merged(tensors, density=0.4)).max() > 0.01


def test_smoothing_keeps_the_sum_of_the_singular_values():
    base, expert = experts((6, 9), 1)
    before = np.linalg.svd(expert - base, compute_uv=False)
    average = np.linalg.svd(merged([base, expert], density=1, smoothing="average") - base, compute_uv=False)
    np.testing.assert_allclose(average, np.full(6, before.mean()), rtol=1e-5)
    linear = np.linalg.svd(
        merged([base, expert], density=1, smoothing="linear", rho=2) - base, compute_uv=False
    )
    assert linear.sum() == pytest.approx(before.sum(), rel=1e-5)
    assert linear[0] / linear[-1] == pytest.approx(2, rel=1e-5)
    np.testing.assert_allclose(np.diff(linear), np.diff(linear).mean(), rtol=1e-4)


def test_at_the_default_density_a_small_matrix_keeps_one_coordinate_of_each_expert():
    tensors = experts((6, 9), 2)
    found = merged(tensors) - tensors[0]
    assert (np.linalg.svd(found.astype(np.float64), compute_uv=False) > 1e-4).sum() == 2


@pytest.mark.parametrize("shape", SHAPES)
def test_weights_are_factors_of_the_experts_and_of_the_whole(shape):
    tensors = experts(shape, 3)
    first, second, third = task_vectors(tensors)
    wanted = tensors[0] + 0.5 * dc_merge([1.8 * first, 0.6 * second, 0.6 * third], 0.3)
    found = merged(tensors, [0.5, 0.3, 0.1, 0.1], density=0.3)
    np.testing.assert_allclose(found, wanted, atol=1e-5)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("smoothing", ["none", "average", "linear"])
def test_low_rank_experts_are_covered_by_as_many_directions_as_they_have(shape, smoothing):
    tensors = low_rank_experts(shape, 3, 1)
    base, products = tensors[0], task_vectors(tensors)
    found = merged(tensors, density=1, smoothing=smoothing)
    np.testing.assert_allclose(found, base + dc_merge(products, 1, smoothing, rank=1), atol=1e-5)


def test_experts_without_common_directions_add_up():
    base = np.zeros((4, 4))
    first, second = np.diag([3.0, 1, 0, 0]), np.diag([0.0, 0, 1, 2])
    np.testing.assert_allclose(merged([base, first, second], density=1), first + second, atol=1e-6)


def test_all_of_one_expert_is_the_expert():
    base, expert = experts((6, 9), 1)
    np.testing.assert_allclose(merged([base, expert], density=1), expert, atol=1e-5)
    assert np.abs(merged([base, expert]) - expert).max() > 0.1


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("density", [1e-3, 1])
def test_experts_identical_opposite_and_equal_to_the_base(density):
    base, first, second = experts((6, 9), 2)
    assert merged([base, base, base], density=density).tolist() == base.tolist()
    found = merged([base, first, base, second], density=density)
    np.testing.assert_allclose(found, merged([base, first, second], density=density), atol=1e-5)
    rivals = merged([base, first, 2 * base - first], density=density)
    np.testing.assert_allclose(rivals, base, atol=1e-5)


def test_identical_experts_share_their_directions_half_and_half():
    base, expert = experts((6, 9), 1)
    u, s, vt = np.linalg.svd(expert - base, full_matrices=False)
    # Each direction is there twice, 1/√2 in each copy: four coordinates of s/2, of which two are in a block.
    wanted = base + u[:, :3] * (s[:3] / 2) @ vt[:3]
    np.testing.assert_allclose(merged([base, expert, expert], density=1), wanted, atol=1e-5)


def test_the_order_of_the_experts_does_not_matter():
    base, *rest = experts((6, 9), 3)
    one, other = merged([base, *rest], density=0.3), merged([base, *rest[::-1]], density=0.3)
    np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.mark.parametrize(("name", "shape"), AVERAGED)
def test_lookup_tables_and_vectors_are_averaged(name, shape):
    tensors = experts(shape, 2)
    wanted = 0.2 * tensors[0] + 0.5 * tensors[1] + 0.3 * tensors[2]
    np.testing.assert_allclose(merged(tensors, [0.2, 0.5, 0.3], name), wanted, atol=1e-6)
