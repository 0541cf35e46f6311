from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from formulas import SLICES, WEIGHTS, by_formula, flat, merged, merged_vectors, models

DENSITIES = (0, 0.05, 0.2, 0.6, 1)
of_vectors = partial(merged_vectors, "pcb")


def between(values, low, high):
    """Each row held to between two of its elements, given by their places in its order."""
    ordered = np.sort(values, axis=1)
    return np.clip(values, ordered[:, [low]], ordered[:, [high]])


def min_max(values):
    low, high = values.min(axis=1, keepdims=True), values.max(axis=1, keepdims=True)
    return (values - low) / np.where(high > low, high - low, 1)


def pcb(density):
    """Intra- and inter-balancing, dropping, rescaling, on whole flat vectors, as the authors' code has it."""

    def formula(taus, shares):
        n, d = taus.shape
        size = between(np.abs(taus), int(d * 0.0001), int(d * 0.9999) - 1)
        balance = np.exp(n * min_max(size) ** 2) * np.tanh(taus * taus.sum(axis=0))
        dropped = between(balance, min(int(d * (1 - density)), d - 1), d - 1)
        kept = min_max(dropped)
        factors = n * shares[:, None]
        return (factors * np.sign(taus) * size * kept).sum(axis=0) / np.maximum(kept.sum(axis=0), 1e-12)

    return formula


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("scope", ["model", "tensor"])
@pytest.mark.parametrize("density", DENSITIES)
def test_is_the_formula_on_whole_flat_models(weights, scope, density):
    sources = models()[: len(weights)]
    wanted = by_formula(sources, weights, pcb(density), scope)
    found = merged("pcb", sources, weights, density=density, scope=scope)
    np.testing.assert_allclose(found, wanted, atol=1e-6)


@pytest.mark.parametrize("scope", ["model", "tensor"])
def test_slices_change_nothing(scope):
    whole, cut = (merged("pcb", models(), [0.1, 0.5, 0.3, 0.1], held, scope=scope) for held in SLICES)
    np.testing.assert_allclose(cut, whole, atol=1e-6)


def large(elements=50001):
    """A model with more than one element in a ten-thousandth."""
    random = np.random.default_rng(0)
    return [{"w": (scale * random.standard_normal(elements)).astype(np.float32)} for scale in (0, 0.1, 0.2)]


def test_the_ten_thousandth_of_either_end_is_pulled_in():
    sources = large()
    found = merged("pcb", sources, [0.25, 0.5, 0.25], density=0.2)
    np.testing.assert_allclose(found, by_formula(sources, [0.25, 0.5, 0.25], pcb(0.2)), atol=1e-6)
    size = np.sort(np.abs(sources[1]["w"]))
    change = np.abs(merged("pcb", sources[:2], density=1))
    assert size[-1] > size[-7] == change.max() == size[int(50001 * 0.9999) - 1]


def test_of_one_expert_the_share_of_its_largest_elements_is_left():
    # Both balances grow with the element, so that the smallest ones are dropped.
    base, legal, *_ = models()
    tau = flat(legal) - flat(base)
    bound = np.sort(np.abs(tau))[-2]
    change = merged("pcb", [base, legal], density=0.3) - flat(base)
    kept = change != 0
    assert 0.27 < kept.mean() <= 0.3
    assert np.abs(tau[kept]).min() > np.abs(tau[~kept]).max()
    np.testing.assert_allclose(change[kept], np.clip(tau[kept], -bound, bound), atol=1e-6)


def test_a_change_against_the_sum_of_the_experts_is_dropped():
    found = of_vectors([3.0, 2, 1, 0.5], [-1.0, 1, 0.5, 0.25], density=1)
    np.testing.assert_allclose(found[0], 2, rtol=1e-6)  # that of the first, pulled in to the second largest


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("density", DENSITIES)
@pytest.mark.parametrize("scope", ["model", "tensor"])
def test_constant_magnitudes_are_divided_by_no_zero(density, scope):
    # The authors' min-max normalisation divides by the difference of largest and smallest.
    found = of_vectors([0.5, -0.5, 0.5, 0.5], [0.25, 0.25, -0.25, 0.25], density=density, scope=scope)
    assert np.isfinite(found).all()
    assert np.abs(found).max() <= 0.5


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("density", DENSITIES)
def test_an_expert_whose_elements_are_all_alike_in_balance_has_none_that_stands_out(density):
    assert not of_vectors([0.5, -0.5, 0.5, 0.5], density=density).any()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("density", DENSITIES)
def test_experts_that_have_not_moved_give_the_base(density):
    base, legal, *_ = models()
    assert merged("pcb", [base, base, base], density=density).tobytes() == flat(base).tobytes()
    assert np.isfinite(merged("pcb", [base, legal, base], density=density)).all()


@pytest.mark.filterwarnings("error")
def test_a_tensor_of_one_element_alone():
    assert of_vectors([0.5], [0.25], scope="tensor") == 0


def test_density_zero_leaves_the_base():
    assert merged("pcb", models(), density=0).tobytes() == flat(models()[0]).tobytes()


def test_the_order_of_the_experts_does_not_matter():
    base, *experts = models()
    turned = merged("pcb", [base, *experts[::-1]], [0.1, 0.1, 0.3, 0.5])
    np.testing.assert_allclose(turned, merged("pcb", models(), [0.1, 0.5, 0.3, 0.1]), atol=1e-6)
