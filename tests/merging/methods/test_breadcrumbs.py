from __future__ import annotations

import math
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
    merged,
    merged_vectors,
    models,
)

DENSITIES = (0, 0.3, 0.9, 1)
GAMMAS = (0, 0.01, 0.1, 0.5)
of_vectors = partial(merged_vectors, "breadcrumbs")


def masked(tau, density, gamma):
    """One tensor's changes without the largest ones and without the smallest ones, from their order."""
    kept = math.ceil(round(density * tau.size, 9))
    outliers = min(math.floor(round(gamma * tau.size, 9)), tau.size - kept)
    chosen = np.argsort(-np.abs(tau))[outliers : outliers + kept]
    found = np.zeros_like(tau)
    found[chosen] = tau[chosen]
    return found


def breadcrumbs(density, gamma, *, elect=False):
    def formula(taus, shares):
        kept = np.stack([masked(tau, density, gamma) for tau in taus])
        return agreeing(kept, shares) if elect else shares @ kept

    return formula


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("density", DENSITIES)
@pytest.mark.parametrize("gamma", GAMMAS)
@pytest.mark.parametrize("elect", [False, True])
def test_is_the_formula_on_each_whole_tensor(weights, density, gamma, elect):
    sources = models()[: len(weights)]
    wanted = by_formula(sources, weights, breadcrumbs(density, gamma, elect=elect), scope="tensor")
    found = merged("breadcrumbs", sources, weights, density=density, gamma=gamma, elect=elect)
    np.testing.assert_allclose(found, wanted, atol=1e-6)


@pytest.mark.parametrize("elect", [False, True])
def test_slices_change_no_bit(elect):
    weights = [0.1, 0.5, 0.3, 0.1]
    whole, cut = (
        merged("breadcrumbs", models(), weights, held, density=0.6, gamma=0.2, elect=elect) for held in SLICES
    )
    assert whole.tobytes() == cut.tobytes()


@pytest.mark.parametrize(("elements", "left"), [(1, 1), (9, 9), (64, 58), (99, 90), (100, 90), (200, 180)])
def test_a_small_tensor_keeps_its_share_although_it_has_no_largest_percent(elements, left):
    # An index counted from the end drops all elements where one percent of them is less than one.
    sizes = np.random.default_rng(0).permutation(np.arange(1.0, elements + 1))
    found = of_vectors(sizes)
    outliers = elements // 100
    assert np.count_nonzero(found) == left
    assert found.max() == elements - outliers
    assert found[found > 0].min() == elements - outliers - left + 1


@pytest.mark.parametrize("gamma", [0.07, 0.29, 0.57, 0.58])
def test_the_largest_are_counted_as_in_decimals(gamma):
    # 0.29 * 100 is 28.999999999999996 in floating point.
    found = of_vectors(np.arange(1.0, 101), density=0.2, gamma=gamma)
    assert found.max() == 100 - round(100 * gamma)
    assert np.count_nonzero(found) == 20


def test_as_much_as_the_density_asks_for_is_kept_whatever_gamma():
    np.testing.assert_array_equal(of_vectors([5.0, -4, 3, -2, 1], density=0.8, gamma=0.9), [0, -4, 3, -2, 1])
    np.testing.assert_array_equal(of_vectors([5.0, -4, 3, -2, 1], density=1, gamma=0.9), [5, -4, 3, -2, 1])


def test_what_equals_the_largest_or_the_smallest_kept_is_kept():
    # Which of equal elements went would hang on their order otherwise.
    found = of_vectors([3.0, -3, 2, 1, 1, 0.5], density=0.5, gamma=0.17)
    np.testing.assert_array_equal(found, [3, -3, 2, 1, 1, 0])
    found = of_vectors([4.0, 3, 2, 1, -1, 0.5], density=0.5, gamma=0.17)
    np.testing.assert_array_equal(found, [0, 3, 2, 1, -1, 0])


def test_the_shares_are_those_of_each_tensor():
    base, legal, *_ = models()
    found = merged("breadcrumbs", [base, legal], density=0.5, gamma=0.1) != flat(base)
    ends = np.cumsum([values.size for values in base.values()])[:-1]
    assert [part.sum() for part in np.split(found, ends)] == [33, 18, 27, 3, 3]


def test_density_zero_leaves_the_base():
    assert merged("breadcrumbs", models(), density=0).tobytes() == flat(models()[0]).tobytes()


GAMMAS_OF_TENSORS = ((0.05,) * 5, (0.3, 0.2, 0.3, 0.3, 0.3), (0.05,) * 5)


@pytest.mark.parametrize("held", SLICES)
@pytest.mark.parametrize("elect", [False, True])
def test_each_expert_may_have_shares_of_its_own_that_differ_from_block_to_block(elect, held):
    weights = [0.1, 0.5, 0.3, 0.1]
    gamma = {"*": 0.05, "expert code": {"block 0": 0.2, "*": 0.3}}
    wanted = []
    for place, name in enumerate(models()[0]):

        def formula(taus, shares, place=place):
            own = zip(taus, SHARES_OF_TENSORS, GAMMAS_OF_TENSORS, strict=True)
            kept = np.stack([masked(tau, d[place], g[place]) for tau, d, g in own])
            return agreeing(kept, shares) if elect else shares @ kept

        wanted.append(by_formula([{name: model[name]} for model in models()], weights, formula))
    found = merged("breadcrumbs", models(), weights, held, density=SHARES, gamma=gamma, elect=elect)
    np.testing.assert_allclose(found, np.concatenate(wanted), atol=1e-6)
