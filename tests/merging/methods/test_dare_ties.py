from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from formulas import (
    NAMES,
    SHARES,
    SHARES_OF_TENSORS,
    SLICES,
    WEIGHTS,
    agreeing,
    by_formula,
    flat,
    merged,
    models,
    tensors,
)


def dropped(number, **parameters):
    """What the expert of this number has left of its task vector, told from DARE of it alone."""
    base, expert = models()[0], models()[number]
    return merged("dare_linear", [base, expert], names=[NAMES[0], NAMES[number]], **parameters) - flat(base)


def dare_ties(agg, **parameters):
    """Drop as DARE does, elect and merge as TIES does."""

    def formula(taus, shares):
        left = [dropped(1 + row, **parameters) for row in range(len(taus))]
        return agreeing(np.stack(left), shares, agg)

    return formula


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("density", [0.2, 0.7])
@pytest.mark.parametrize("rescale", ["inverse", "l1", "none"])
@pytest.mark.parametrize("agg", ["mean", "sum"])
def test_is_the_formula_on_whole_flat_models(weights, density, rescale, agg):
    sources = models()[: len(weights)]
    wanted = by_formula(sources, weights, dare_ties(agg, density=density, rescale=rescale))
    found = merged("dare_ties", sources, weights, density=density, rescale=rescale, agg=agg)
    np.testing.assert_allclose(found, wanted, atol=2e-6)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("agg", ["mean", "sum"])
def test_density_zero_leaves_the_base_and_density_one_ties_without_trimming(agg):
    assert merged("dare_ties", models(), density=0, agg=agg).tobytes() == flat(models()[0]).tobytes()
    weights = [0.1, 0.5, 0.3, 0.1]
    found = merged("dare_ties", models(), weights, density=1, agg=agg)
    wanted = by_formula(models(), weights, lambda taus, shares: agreeing(taus, shares, agg))
    np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_one_expert_is_dropped_as_dare_drops_it():
    sources = models()[:2]
    found = merged("dare_ties", sources, [0.4, 0.6], density=0.3, seed=3)
    wanted = merged("dare_linear", sources, [0.4, 0.6], density=0.3, seed=3)
    np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_an_expert_that_dropped_an_element_has_no_part_in_its_mean():
    base, legal, *_ = models()
    sources = [base, legal, legal]
    change = merged("dare_ties", sources, density=0.5) - flat(base)
    kept = change != 0
    np.testing.assert_allclose(change[kept], 2 * (flat(legal) - flat(base))[kept], atol=2e-6)
    assert 0.6 < kept.mean() < 0.9  # one or both keep three of four


def test_the_same_seed_gives_the_same_bits_and_another_seed_others():
    first, again, other = (merged("dare_ties", models(), seed=seed).tobytes() for seed in (7, 7, 8))
    assert first == again
    assert first != other


def test_slices_change_no_bit():
    whole, cut = (merged("dare_ties", models(), None, held) for held in SLICES)
    assert whole.tobytes() == cut.tobytes()


@pytest.mark.parametrize("order", list(permutations([1, 2, 3]))[1:])
def test_the_order_of_the_experts_does_not_matter(order):
    turned = [0, *order]
    sources, names = [models()[row] for row in turned], [NAMES[row] for row in turned]
    found = merged("dare_ties", sources, names=names)
    np.testing.assert_allclose(found, merged("dare_ties", models()), atol=1e-6)


@pytest.mark.parametrize("rescale", ["inverse", "l1", "none"])
def test_each_expert_may_have_a_density_of_its_own_that_differs_from_block_to_block(rescale):
    def formula(taus, shares):
        left = [
            np.concatenate(
                [
                    tensors(dropped(1 + row, density=density, rescale=rescale))[place].ravel()
                    for place, density in enumerate(densities)
                ]
            )
            for row, densities in enumerate(SHARES_OF_TENSORS)
        ]
        return agreeing(np.stack(left), shares)

    weights = [0.1, 0.5, 0.3, 0.1]
    wanted = by_formula(models(), weights, formula)
    found = merged("dare_ties", models(), weights, density=SHARES, rescale=rescale)
    np.testing.assert_allclose(found, wanted, atol=2e-6)
