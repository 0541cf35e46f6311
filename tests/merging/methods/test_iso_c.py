from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from matrices import AVERAGED, SHAPES, experts, low_rank_experts, merge, task_vectors

merged = partial(merge, "iso_c")


def iso_c(matrices):
    """Σ Tᵢ = U S Vᵀ, and mean(S) in the place of every singular value."""
    u, s, vt = np.linalg.svd(sum(matrices), full_matrices=False)
    return u @ np.diag(np.full_like(s, s.mean())) @ vt


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("number", [1, 2, 3, 5])
def test_is_the_formula_on_whole_matrices(shape, number):
    tensors = experts(shape, number)
    wanted = tensors[0] + iso_c(task_vectors(tensors))
    np.testing.assert_allclose(merged(tensors), wanted, atol=2e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_spectrum_is_flat_and_its_sum_the_same(shape):
    tensors = experts(shape, 3)
    found = np.linalg.svd(merged(tensors) - tensors[0], compute_uv=False)
    before = np.linalg.svd(sum(task_vectors(tensors)), compute_uv=False)
    np.testing.assert_allclose(found, np.full(min(shape), before.mean()), rtol=1e-5)
    assert before[0] > 2 * before[-1]


@pytest.mark.parametrize("shape", SHAPES)
def test_weights_are_factors_of_the_experts_and_of_the_whole(shape):
    tensors = experts(shape, 3)
    first, second, third = task_vectors(tensors)
    wanted = tensors[0] + 0.5 * iso_c([1.8 * first, 0.6 * second, 0.6 * third])
    np.testing.assert_allclose(merged(tensors, [0.5, 0.3, 0.1, 0.1]), wanted, atol=1e-5)


def test_a_negative_weight_turns_an_expert_round():
    tensors = experts((6, 9), 2)
    first, second = task_vectors(tensors)
    wanted = tensors[0] + 0.8 * iso_c([1.25 * first, -0.75 * second])
    np.testing.assert_allclose(merged(tensors, [0.8, 0.5, -0.3]), wanted, atol=1e-5)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("shape", SHAPES)
def test_null_directions_of_low_rank_experts_count_in_the_mean_and_stay_null(shape):
    tensors = low_rank_experts(shape, 3, 1)
    base, products = tensors[0], task_vectors(tensors)
    found = merged(tensors) - base
    u, s, vt = np.linalg.svd(sum(products), full_matrices=False)
    assert s[3] < 1e-9 * s[0]
    mean = s.sum() / min(shape)
    np.testing.assert_allclose(found, mean * u[:, :3] @ vt[:3], atol=1e-5)


def test_one_expert_does_not_come_out_as_it_is():
    base, expert = experts((6, 9), 1)
    found = merged([base, expert])
    np.testing.assert_allclose(found, base + iso_c([expert - base]), atol=1e-5)
    assert np.abs(found - expert).max() > 0.1


def test_two_identical_experts_go_twice_as_far_as_one():
    base, expert = experts((9, 6), 1)
    once, twice = merged([base, expert]) - base, merged([base, expert, expert]) - base
    np.testing.assert_allclose(twice, 2 * once, atol=1e-5)


@pytest.mark.filterwarnings("error")
def test_experts_equal_to_the_base_or_opposite_to_each_other():
    base, first, second = experts((9, 6), 2)
    np.testing.assert_allclose(merged([base, first, base, second]), merged([base, first, second]), atol=1e-5)
    assert merged([base, base, base]).tolist() == base.tolist()
    assert merged([base, first, 2 * base - first]).tolist() == base.tolist()


def test_the_order_of_the_experts_does_not_matter():
    base, *rest = experts((6, 9), 3)
    np.testing.assert_allclose(merged([base, *rest]), merged([base, *rest[::-1]]), atol=1e-5)


@pytest.mark.parametrize(("name", "shape"), AVERAGED)
def test_lookup_tables_and_vectors_are_averaged(name, shape):
    tensors = experts(shape, 2)
    wanted = 0.2 * tensors[0] + 0.5 * tensors[1] + 0.3 * tensors[2]
    np.testing.assert_allclose(merged(tensors, [0.2, 0.5, 0.3], name), wanted, atol=1e-6)
