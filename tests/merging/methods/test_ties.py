from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from formulas import (
    SHARES,
    SHARES_OF_TENSORS,
    SLICES,
    WEIGHTS,
    agreeing,
    by_formula,
    flat,
    largest,
    largest_by_tensor,
    merged,
    merged_vectors,
    models,
)

DENSITIES = (0, 0.05, 0.2, 0.73, 1)
of_vectors = partial(merged_vectors, "ties")


def ties(density, agg):
    """Trim, elect, merge: the three steps of the paper's algorithm 1."""

    def formula(taus, shares):
        return agreeing(np.stack([largest(tau, density) for tau in taus]), shares, agg)

    return formula


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("scope", ["model", "tensor"])
@pytest.mark.parametrize("agg", ["mean", "sum"])
@pytest.mark.parametrize("density", DENSITIES)
def test_is_the_formula_on_whole_flat_models(weights, scope, agg, density):
    sources = models()[: len(weights)]
    wanted = by_formula(sources, weights, ties(density, agg), scope)
    found = merged("ties", sources, weights, density=density, scope=scope, agg=agg)
    np.testing.assert_allclose(found, wanted, atol=1e-6)


@pytest.mark.parametrize("scope", ["model", "tensor"])
@pytest.mark.parametrize("agg", ["mean", "sum"])
def test_slices_change_no_bit(scope, agg):
    whole, cut = (
        merged("ties", models(), [0.1, 0.5, 0.3, 0.1], held, scope=scope, agg=agg) for held in SLICES
    )
    assert whole.tobytes() == cut.tobytes()


def test_over_the_model_most_of_what_is_kept_lies_where_the_expert_moved_most():
    base, legal, *_ = models()
    table = legal["embeddings.word_embeddings.weight"].size  # has moved least, and is first
    moved = {
        scope: merged("ties", [base, legal], density=0.2, scope=scope) != flat(base)
        for scope in ("model", "tensor")
    }
    assert moved["model"][:table].sum() == 0
    assert moved["tensor"][:table].sum() == 14  # of 66, rounded up
    assert moved["model"].sum() == 34  # of 168


@pytest.mark.parametrize("weights", [w for w in WEIGHTS if len(w) > 2])
def test_at_density_one_nothing_is_trimmed_and_signs_are_elected_all_the_same(weights):
    # The authors' code asks for the zeroth smallest magnitude there and fails.
    sources = models()[: len(weights)]
    found = merged("ties", sources, weights, density=1)
    np.testing.assert_allclose(found, by_formula(sources, weights, agreeing), atol=1e-6)
    assert np.abs(found - merged("task_arithmetic", sources, weights)).max() > 0.01


@pytest.mark.parametrize("agg", ["mean", "sum"])
def test_one_expert_at_density_one_comes_out_as_it_is(agg):
    base, legal, *_ = models()
    found = merged("ties", [base, legal], density=1, agg=agg)
    np.testing.assert_allclose(found, flat(legal), atol=1e-6)


@pytest.mark.parametrize("agg", ["mean", "sum"])
def test_at_density_zero_the_base_is_left(agg):
    assert merged("ties", models(), density=0, agg=agg).tobytes() == flat(models()[0]).tobytes()


def test_experts_that_agree_are_averaged_or_added():
    base, legal, *_ = models()
    whole = flat(legal) - flat(base)
    for agg, factor in (("mean", 1), ("sum", 3)):
        found = merged("ties", [base, legal, legal, legal], density=1, agg=agg)
        np.testing.assert_allclose(found, flat(base) + factor * whole, atol=1e-6)


def test_all_that_equal_the_smallest_kept_are_kept():
    # Which of equal elements went would hang on their order otherwise, and on how tensors are cut.
    np.testing.assert_array_equal(of_vectors([2.0, -1, 1, 1, 0.5], density=0.4), [2, -1, 1, 1, 0])


def test_a_share_of_a_few_elements_is_rounded_up():
    np.testing.assert_array_equal(of_vectors([3.0, 2, 1], density=0.01), [3, 0, 0])
    np.testing.assert_array_equal(of_vectors([3.0, 2, 1], density=0.34), [3, 2, 0])


@pytest.mark.parametrize("agg", ["mean", "sum"])
def test_where_changes_cancel_no_sign_is_elected(agg):
    # The authors' code gives such an element the model's majority sign (here plus), mergekit plus.
    found = of_vectors([1.0, 1, 1, 1], [-1.0, 1, 1, -1], density=1, agg=agg)
    np.testing.assert_array_equal(found, np.array([0, 1, 1, 0]) * (1 if agg == "mean" else 2))


def test_the_weights_decide_the_election_and_the_mean():
    found = of_vectors([1.0, 3, 2], [-2.0, -1, 4], weights=[0.0, 0.75, 0.25], density=1)
    np.testing.assert_allclose(found, [1, 3, 0.75 * 2 + 0.25 * 4])
    found = of_vectors([1.0, 3, 2], [-2.0, -1, 4], weights=[0.0, 0.25, 0.75], density=1)
    np.testing.assert_allclose(found, [-2, 0, 0.25 * 2 + 0.75 * 4])


def test_the_share_that_is_kept_may_differ_from_block_to_block():
    base, legal, *_ = models()
    density = {"block 0": 0, "block 1": 1, "*": 0.5}
    found = merged("ties", [base, legal], density=density, scope="tensor")
    table, query, *last = (legal[name].ravel() - base[name].ravel() for name in base)
    wanted = flat(base) + np.concatenate([largest(table, 0.5), 0 * query, *last])
    np.testing.assert_allclose(found, wanted, atol=1e-6)


@pytest.mark.parametrize("held", SLICES)
@pytest.mark.parametrize("scope", ["model", "tensor"])
@pytest.mark.parametrize("agg", ["mean", "sum"])
def test_each_expert_may_have_a_share_of_its_own_that_differs_from_block_to_block(scope, agg, held):
    weights = [0.1, 0.5, 0.3, 0.1]

    def formula(taus, shares):
        return agreeing(largest_by_tensor(taus, SHARES_OF_TENSORS, scope), shares, agg)

    found = merged("ties", models(), weights, held, density=SHARES, scope=scope, agg=agg)
    np.testing.assert_allclose(found, by_formula(models(), weights, formula), atol=1e-6)


def test_an_expert_that_counts_for_nothing_may_have_one_too():
    base, legal, code, news = models()
    found = merged("ties", [base, legal, code, news], [0.2, 0.5, 0.0, 0.3], density=SHARES)
    wanted = merged(
        "ties", [base, legal, news], [0.2, 0.5, 0.3], names=["base", "legal", "news"], density=SHARES
    )
    assert found.tobytes() == wanted.tobytes()


def test_what_is_kept_of_an_expert_does_not_hang_on_the_shares_of_the_others():
    base, legal, *_ = models()
    whole = merged("ties", [base, legal], density=0.3)
    density = {"expert legal": 0.3, "block 0": 0.5, "*": 0.1}
    np.testing.assert_allclose(merged("ties", [base, legal, base], density=density), whole, atol=1e-6)
