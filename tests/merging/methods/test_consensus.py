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

of_vectors = partial(merged_vectors, "consensus")


def consensus(strength, agree, multitask="sum", density=0.2):
    """TALL masks against the merged task vector; what as many as k of them share is left."""

    def formula(taus, shares):
        if multitask == "sum":
            whole = len(shares) * shares @ taus
        else:
            whole = agreeing(np.stack([largest(tau, density) for tau in taus]), shares, "sum")
        masks = [np.abs(tau) > strength * np.abs(whole - tau) for tau in taus]
        return np.where(np.sum(masks, axis=0) >= min(agree, len(taus)), whole, 0)

    return formula


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("mask_strength", [0.2, 0.6])
@pytest.mark.parametrize("agree", [0, 1, 2, 3])
def test_of_the_sum_it_is_the_formula_on_whole_flat_models(weights, mask_strength, agree):
    sources = models()[: len(weights)]
    wanted = by_formula(sources, weights, consensus(mask_strength, agree))
    found = merged("consensus", sources, weights, mask_strength=mask_strength, agree=agree)
    np.testing.assert_allclose(found, wanted, atol=1e-6)


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("scope", ["model", "tensor"])
@pytest.mark.parametrize("density", [0, 0.2, 0.6, 1])
def test_of_ties_it_is_the_formula_on_whole_flat_models(weights, scope, density):
    sources = models()[: len(weights)]
    wanted = by_formula(sources, weights, consensus(0.4, 2, "ties", density), scope)
    parameters = {"mask_strength": 0.4, "multitask": "ties", "density": density, "scope": scope}
    found = merged("consensus", sources, weights, **parameters)
    np.testing.assert_allclose(found, wanted, atol=1e-6)


@pytest.mark.parametrize("multitask", ["sum", "ties"])
@pytest.mark.parametrize("scope", ["model", "tensor"])
def test_slices_change_no_bit(multitask, scope):
    whole, cut = (
        merged("consensus", models(), None, held, multitask=multitask, scope=scope) for held in SLICES
    )
    assert whole.tobytes() == cut.tobytes()


def test_of_two_experts_that_must_agree_only_what_both_share_is_left():
    experts = [2.0, 3, 0], [1.0, 0, -3]
    np.testing.assert_array_equal(of_vectors(*experts, agree=2, mask_strength=0.4), [3, 0, 0])
    np.testing.assert_array_equal(of_vectors(*experts, agree=1, mask_strength=0.4), [3, 3, -3])


def test_what_the_sum_takes_too_far_for_every_expert_is_dropped_even_at_k_of_one():
    experts = [1.0, 1], [1.0, 3]  # 2 is as far from 1 as the base is; 4 is nearer to 3
    np.testing.assert_array_equal(of_vectors(*experts, agree=1, mask_strength=1), [0, 4])
    np.testing.assert_array_equal(of_vectors(*experts, agree=1, mask_strength=0.9), [2, 4])


def test_the_stronger_the_masks_the_less_is_left():
    kept = [
        np.count_nonzero(merged("consensus", models(), mask_strength=strength) != flat(models()[0]))
        for strength in (0, 0.2, 0.5, 1, 2, 4)
    ]
    assert kept == sorted(kept, reverse=True)
    assert kept[0] > kept[2] > kept[-1]


def test_k_of_zero_drops_nothing_and_more_than_there_are_experts_is_all_of_them():
    # In the authors' code a k beyond the number of tasks leaves the base.
    summed = merged("task_arithmetic", models(), [-2.0, 1.0, 1.0, 1.0])
    np.testing.assert_allclose(merged("consensus", models(), agree=0), summed, atol=1e-6)
    found = merged("consensus", models(), agree=7)
    assert found.tobytes() == merged("consensus", models(), agree=3).tobytes()
    assert found.tobytes() != flat(models()[0]).tobytes()


@pytest.mark.parametrize("weight", [1, 0.6])
def test_one_expert_is_of_use_to_itself(weight):
    base, legal, *_ = models()
    found = merged("consensus", [base, legal], [1 - weight, weight])
    np.testing.assert_allclose(found, (1 - weight) * flat(base) + weight * flat(legal), atol=1e-6)


def test_experts_that_have_not_moved_give_the_base():
    base = models()[0]
    assert merged("consensus", [base, base, base]).tobytes() == flat(base).tobytes()


STRENGTHS = {"expert legal": {"block 1": 0.2, "*": 1.4}, "*": 0.6, "expert news": [0.3, 0.9]}
STRENGTHS_OF_TENSORS = ((1.4, 1.4, 0.2, 0.2, 0.2), (0.6,) * 5, (0.3, 0.3, 0.9, 0.9, 0.9))


@pytest.mark.parametrize("held", SLICES)
@pytest.mark.parametrize("multitask", ["sum", "ties"])
def test_each_expert_may_have_masks_of_its_own_strength_and_a_share_of_its_own(multitask, held):
    weights = [0.1, 0.5, 0.3, 0.1]
    sizes = [values.size for values in models()[0].values()]
    strengths = np.repeat(STRENGTHS_OF_TENSORS, sizes, axis=1)

    def formula(taus, shares):
        whole = len(shares) * shares @ taus
        if multitask == "ties":
            whole = agreeing(largest_by_tensor(taus, SHARES_OF_TENSORS, "tensor"), shares, "sum")
        masks = np.abs(taus) > strengths * np.abs(whole - taus)
        return np.where(masks.sum(axis=0) >= 2, whole, 0)

    given = {"multitask": multitask, "density": SHARES, "scope": "tensor"}
    found = merged("consensus", models(), weights, held, mask_strength=STRENGTHS, **given)
    np.testing.assert_allclose(found, by_formula(models(), weights, formula), atol=1e-6)
