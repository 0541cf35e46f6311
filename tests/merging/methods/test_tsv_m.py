from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from matrices import AVERAGED, SHAPES, experts, low_rank_experts, merge, on_a_grid, polar, task_vectors

merged = partial(merge, "tsv_m")


def tsv_merge(matrices):
    """Algorithm 1: SVD, truncation to the n-th part, Procrustes on both sides, and the product."""
    rank = min(matrices[0].shape) // len(matrices)
    svds = [np.linalg.svd(matrix, full_matrices=False) for matrix in matrices]
    u = polar(np.hstack([u[:, :rank] for u, _, _ in svds]))
    v = polar(np.hstack([vt[:rank].T for _, _, vt in svds]))
    return u @ np.diag(np.concatenate([s[:rank] for _, s, _ in svds])) @ v.T


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("number", [1, 2, 3, 5])
def test_is_algorithm_1(shape, number):
    tensors = experts(shape, number)
    wanted = tensors[0] + tsv_merge(task_vectors(tensors))
    np.testing.assert_allclose(merged(tensors), wanted, atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_weights_are_factors_of_the_experts_and_of_the_whole(shape):
    tensors = experts(shape, 3)
    first, second, third = task_vectors(tensors)
    # Half goes to the experts, of which the first has three fifths; at a third each they count for 1.
    wanted = tensors[0] + 0.5 * tsv_merge([1.8 * first, 0.6 * second, 0.6 * third])
    np.testing.assert_allclose(merged(tensors, [0.5, 0.3, 0.1, 0.1]), wanted, atol=1e-5)


def test_a_negative_weight_turns_an_expert_round():
    tensors = experts((6, 9), 2)
    first, second = task_vectors(tensors)
    wanted = tensors[0] + 0.8 * tsv_merge([1.25 * first, -0.75 * second])
    np.testing.assert_allclose(merged(tensors, [0.8, 0.5, -0.3]), wanted, atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_low_rank_experts_keep_all_they_have_where_there_is_room(shape):
    tensors = low_rank_experts(shape, 3, 2)
    base, products = tensors[0], task_vectors(tensors)
    found = merged(tensors) - base
    np.testing.assert_allclose(found, tsv_merge(products), atol=1e-5)
    kept = np.concatenate([np.linalg.svd(product, compute_uv=False)[:2] for product in products])
    singular_values = np.linalg.svd(found.astype(np.float64), compute_uv=False)[:6]
    np.testing.assert_allclose(singular_values, np.sort(kept)[::-1], rtol=1e-5)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("shape", [(9, 12), (12, 9), (10, 10)])
def test_an_expert_of_too_low_a_rank_has_no_directions_made_up_for_it(shape):
    random = np.random.default_rng(4)
    base = on_a_grid(random, *shape)
    narrow = np.outer(on_a_grid(random, shape[0]), on_a_grid(random, shape[1]))
    wide = on_a_grid(random, *shape)
    kept = [np.linalg.svd(tau, full_matrices=False) for tau in (narrow, wide)]
    ranks = (1, min(shape) // 2)
    u = polar(np.hstack([u[:, :rank] for (u, _, _), rank in zip(kept, ranks, strict=True)]))
    v = polar(np.hstack([vt[:rank].T for (_, _, vt), rank in zip(kept, ranks, strict=True)]))
    s = np.concatenate([s[:rank] for (_, s, _), rank in zip(kept, ranks, strict=True)])
    np.testing.assert_allclose(merged([base, base + narrow, base + wide]), base + u * s @ v.T, atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_two_identical_experts_give_the_first_half_of_their_directions(shape):
    base, expert = experts(shape, 1)
    u, s, vt = np.linalg.svd(expert - base, full_matrices=False)
    half = min(shape) // 2
    wanted = base + u[:, :half] * s[:half] @ vt[:half]
    np.testing.assert_allclose(merged([base, expert, expert]), wanted, atol=1e-5)


def test_one_expert_comes_out_as_it_is():
    tensors = experts((6, 9), 1)
    np.testing.assert_allclose(merged(tensors), tensors[1], atol=1e-5)


def test_an_expert_equal_to_the_base_takes_no_directions_from_the_others():
    base, first, second = experts((9, 6), 2)
    np.testing.assert_allclose(merged([base, first, base, second]), merged([base, first, second]), atol=1e-5)
    assert merged([base, base, base]).tolist() == base.tolist()


def test_more_experts_than_directions_give_one_each():
    base, *rest = experts((2, 9), 3)
    found = merged([base, *rest]) - base
    tops = [np.linalg.svd(tensor - base, full_matrices=False) for tensor in rest]
    u, v = polar(np.hstack([u[:, :1] for u, _, _ in tops])), polar(np.hstack([vt[:1].T for _, _, vt in tops]))
    np.testing.assert_allclose(found, u * [s[0] for _, s, _ in tops] @ v.T, atol=1e-5)


def test_the_order_of_the_experts_does_not_matter():
    base, *rest = experts((6, 9), 3)
    np.testing.assert_allclose(merged([base, *rest]), merged([base, *rest[::-1]]), atol=1e-5)


@pytest.mark.parametrize(("name", "shape"), AVERAGED)
def test_lookup_tables_and_vectors_are_averaged(name, shape):
    tensors = experts(shape, 2)
    wanted = 0.2 * tensors[0] + 0.5 * tensors[1] + 0.3 * tensors[2]
    np.testing.assert_allclose(merged(tensors, [0.2, 0.5, 0.3], name), wanted, atol=1e-6)
