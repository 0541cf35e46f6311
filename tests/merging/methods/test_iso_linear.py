from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from matrices import AVERAGED, SHAPES, experts, low_rank_experts, merge, polar, task_vectors

merged = partial(merge, "iso_linear")
EVENNESS = [0.0, 0.3, 0.5, 1.0]


def levelled(matrix, evenness):
    """Singular values to the power of what evenness leaves, at the norm they had."""
    u, s, vt = np.linalg.svd(matrix, full_matrices=False)
    known = s > 1e-9 * s.max(initial=0)
    powers = np.where(known, s, 0.0)
    powers[known] **= 1 - evenness
    return u @ np.diag(powers * np.linalg.norm(s) / np.linalg.norm(powers)) @ vt


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("evenness", EVENNESS)
def test_is_the_formula_expert_by_expert(shape, evenness):
    tensors = experts(shape, 3)
    first, second, third = (levelled(tau, evenness) for tau in task_vectors(tensors))
    wanted = tensors[0] + 0.5 * first + 0.3 * second - 0.2 * third
    found = merged(tensors, [0.4, 0.5, 0.3, -0.2], evenness=evenness)
    np.testing.assert_allclose(found, wanted, atol=2e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_one_expert_is_iso_c_but_for_the_length(shape):
    tensors = experts(shape, 1)
    ours, theirs = merged(tensors) - tensors[0], merge("iso_c", tensors) - tensors[0]
    ratio = np.linalg.norm(ours) / np.linalg.norm(theirs)
    np.testing.assert_allclose(ours, ratio * theirs, atol=2e-5)
    np.testing.assert_allclose(np.linalg.norm(ours), np.linalg.norm(tensors[1] - tensors[0]), rtol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_by_default_the_spectrum_is_flat(shape):
    tensors = experts(shape, 1)
    found = np.linalg.svd(merged(tensors) - tensors[0], compute_uv=False)
    np.testing.assert_allclose(found, np.full(min(shape), found.mean()), rtol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_without_evenness_it_is_the_weighted_sum(shape):
    tensors, weights = experts(shape, 2), [0.2, 0.5, 0.3]
    wanted = merge("linear", tensors, weights)
    np.testing.assert_allclose(merged(tensors, weights, evenness=0), wanted, atol=1e-6)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("shape", SHAPES)
def test_null_directions_of_low_rank_experts_stay_null(shape):
    base, expert = low_rank_experts(shape, 1, 2)
    found = merged([base, expert]) - base
    direction = polar(expert - base)
    length = np.linalg.norm(expert - base) / np.linalg.norm(direction)
    np.testing.assert_allclose(found, length * direction, atol=2e-5)


@pytest.mark.filterwarnings("error")
def test_an_expert_equal_to_the_base_adds_nothing():
    base, first, _ = experts((9, 6), 2)
    wanted = merged([base, first], [0.5, 0.5])
    np.testing.assert_allclose(merged([base, first, base], [0.2, 0.5, 0.3]), wanted, atol=1e-6)
    assert merged([base, base]).tolist() == base.tolist()


@pytest.mark.parametrize(("name", "shape"), AVERAGED)
def test_lookup_tables_and_vectors_are_averaged(name, shape):
    tensors = experts(shape, 2)
    wanted = 0.2 * tensors[0] + 0.5 * tensors[1] + 0.3 * tensors[2]
    np.testing.assert_allclose(merged(tensors, [0.2, 0.5, 0.3], name), wanted, atol=1e-6)
