from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from matrices import AVERAGED, experts, low_rank_experts, merge, polar, task_vectors

merged = partial(merge, "iso_cts")

SHAPES = [(10, 13), (13, 10), (11, 11)]


def svd(matrix, most):
    """As many triplets as wanted, those of rounding left out."""
    u, s, vt = np.linalg.svd(matrix, full_matrices=False)
    most = min(most, int((s > 1e-5).sum()))
    return u[:, :most], s[:most], vt[:most]


def iso_cts(matrices, common=0.8):
    """The sum's first directions, each expert's own beside them, Procrustes, and one singular value."""
    rank, n = min(matrices[0].shape), len(matrices)
    own = round((rank - int(rank * common + 1e-9)) / n)
    shared = svd(sum(matrices), rank - n * own)
    beside = [svd(matrix - shared[0] @ shared[0].T @ matrix, own) for matrix in matrices]
    us, ss, vts = zip(shared, *beside, strict=True)
    mean = np.concatenate(ss).sum() / rank
    return mean * polar(np.hstack(us)) @ polar(np.vstack(vts))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("number", [1, 2, 3, 5])
@pytest.mark.parametrize("common", [0.8, 0.5, 0.3])
def test_is_the_construction_on_whole_matrices(shape, number, common):
    tensors = experts(shape, number)
    wanted = tensors[0] + iso_cts(task_vectors(tensors), common)
    np.testing.assert_allclose(merged(tensors, common=common), wanted, atol=3e-5)


@pytest.mark.parametrize("shape", [(10, 13), (13, 10), (10, 10)])
def test_the_spectrum_is_flat(shape):
    tensors = experts(shape, 2)
    found = np.linalg.svd(merged(tensors, common=0.6) - tensors[0], compute_uv=False)
    np.testing.assert_allclose(found, np.full(10, found.mean()), rtol=1e-5)


@pytest.mark.parametrize("number", [1, 2, 3])
def test_with_all_directions_common_it_is_iso_c(number):
    tensors = experts((10, 13), number)
    np.testing.assert_allclose(merged(tensors, common=1), merge("iso_c", tensors), atol=1e-5)


@pytest.mark.parametrize("common", [0, 0.3, 0.8])
@pytest.mark.parametrize("shape", [*SHAPES, (1, 5), (5, 1), (1, 1)])
def test_for_one_expert_it_is_iso_c(shape, common):
    tensors = experts(shape, 1)
    found = merged(tensors, common=common)
    np.testing.assert_allclose(found, merge("iso_c", tensors), atol=1e-5)


def test_without_common_directions_each_expert_has_its_share():
    tensors = experts((10, 13), 2)
    (u1, s1, v1), (u2, s2, v2) = (svd(tau, 5) for tau in task_vectors(tensors))
    mean = (s1.sum() + s2.sum()) / 10
    wanted = tensors[0] + mean * polar(np.hstack([u1, u2])) @ polar(np.vstack([v1, v2]))
    np.testing.assert_allclose(merged(tensors, common=0), wanted, atol=2e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_weights_are_factors_of_the_experts_and_of_the_whole(shape):
    tensors = experts(shape, 3)
    first, second, third = task_vectors(tensors)
    wanted = tensors[0] + 0.5 * iso_cts([1.8 * first, 0.6 * second, 0.6 * third])
    np.testing.assert_allclose(merged(tensors, [0.5, 0.3, 0.1, 0.1]), wanted, atol=2e-5)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("shape", [(13, 16), (16, 13), (13, 13)])
def test_null_directions_of_low_rank_experts_stay_null(shape):
    tensors = low_rank_experts(shape, 3, 2)
    base, products = tensors[0], task_vectors(tensors)
    found = merged(tensors, common=0.3) - base
    np.testing.assert_allclose(found, iso_cts(products, 0.3), atol=2e-5)
    # Three experts of rank two span six directions, common ones and their own together.
    assert (np.linalg.svd(found.astype(np.float64), compute_uv=False) > 1e-4).sum() == 6


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("common", [0, 0.8, 1])
def test_experts_identical_opposite_and_equal_to_the_base(common):
    base, first, second = experts((10, 13), 2)
    assert merged([base, base, base], common=common).tolist() == base.tolist()
    found = merged([base, first, base, second], common=common)
    np.testing.assert_allclose(found, merged([base, first, second], common=common), atol=1e-5)
    twins = merged([base, first, first], common=common) - base
    np.testing.assert_allclose(twins, iso_cts([first - base] * 2, common), atol=2e-5)
    rivals = merged([base, first, 2 * base - first], common=common) - base
    np.testing.assert_allclose(rivals, iso_cts([first - base, base - first], common), atol=2e-5)


def test_the_order_of_the_experts_does_not_matter():
    base, *rest = experts((10, 13), 3)
    np.testing.assert_allclose(merged([base, *rest]), merged([base, *rest[::-1]]), atol=2e-5)


@pytest.mark.parametrize(("name", "shape"), AVERAGED)
def test_lookup_tables_and_vectors_are_averaged(name, shape):
    tensors = experts(shape, 2)
    wanted = 0.2 * tensors[0] + 0.5 * tensors[1] + 0.3 * tensors[2]
    np.testing.assert_allclose(merged(tensors, [0.2, 0.5, 0.3], name), wanted, atol=1e-6)
