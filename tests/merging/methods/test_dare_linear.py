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
    by_formula,
    flat,
    merged,
    models,
    tensors,
)

DENSITIES = (0.1, 0.5, 0.9)


def survivors(number, **parameters):
    """Where the expert of this number keeps its changes, told from a merge of it alone."""
    base, expert = models()[0], models()[number]
    found = merged("dare_linear", [base, expert], names=[NAMES[0], NAMES[number]], **parameters)
    return found != flat(base)


def l1_ratio(tau, mask):
    """What the L1 norm of each tensor must be multiplied by after dropping, element by element."""
    pairs = zip(tensors(np.abs(tau)), tensors(np.abs(tau) * mask), strict=True)
    ratios = [np.full(whole.size, whole.sum() / (kept.sum() or 1)) for whole, kept in pairs]
    return np.concatenate(ratios)


def dare(density, rescale, seed=0):
    """`Σ pᵢ mᵢ ⊙ τᵢ / d`, or with another rescaling, with the masks that each expert has alone."""

    def formula(taus, shares):
        masks = [survivors(1 + row, density=density, seed=seed) for row in range(len(taus))]
        factors = {"inverse": lambda *_: 1 / density, "none": lambda *_: 1, "l1": l1_ratio}
        kept = [tau * mask * factors[rescale](tau, mask) for tau, mask in zip(taus, masks, strict=True)]
        return shares @ np.stack(kept)

    return formula


@pytest.mark.parametrize("held", SLICES)
@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("rescale", ["inverse", "l1", "none"])
def test_is_the_weighted_sum_of_what_each_expert_keeps(weights, rescale, held):
    sources = models()[: len(weights)]
    wanted = by_formula(sources, weights, dare(0.5, rescale))
    found = merged("dare_linear", sources, weights, held, density=0.5, rescale=rescale)
    np.testing.assert_allclose(found, wanted, atol=2e-6)


@pytest.mark.parametrize("density", DENSITIES)
def test_what_is_kept_is_divided_by_the_share_that_is(density):
    base, legal, *_ = models()
    change = merged("dare_linear", [base, legal], density=density) - flat(base)
    kept = change != 0
    assert 0 < kept.sum() < kept.size
    np.testing.assert_allclose(change[kept], (flat(legal) - flat(base))[kept] / density, atol=2e-6)


@pytest.mark.parametrize("density", DENSITIES)
def test_each_element_is_kept_with_the_same_probability(density):
    base = {"w": np.zeros((200, 100))}
    expert = {"w": np.ones((200, 100))}
    kept = merged("dare_linear", [base, expert], density=density).reshape(200, 100) != 0
    deviation = np.sqrt(density * (1 - density))
    assert abs(kept.mean() - density) < 5 * deviation / np.sqrt(kept.size)
    assert np.abs(kept.mean(axis=0) - density).max() < 5 * deviation / np.sqrt(200)
    assert np.abs(kept.mean(axis=1) - density).max() < 5 * deviation / np.sqrt(100)


def test_experts_and_tensors_drop_independently():
    base = {name: np.zeros(10000) for name in ("a", "b")}
    expert = {name: np.ones(10000) for name in base}
    legal, code = (
        merged("dare_linear", [base, expert], density=0.5, names=["base", name]) != 0 for name in NAMES[1:3]
    )
    for one, other in ((legal, code), (legal[:10000], legal[10000:])):
        assert abs((one & other).mean() - 0.25) < 0.03


def test_over_the_seeds_the_mean_is_task_arithmetic():
    weights, seeds = [0.2, 0.5, 0.3], 300
    sources = models()[:3]
    runs = [merged("dare_linear", sources, weights, density=0.5, seed=seed) for seed in range(seeds)]
    base, *experts = map(flat, sources)
    deviation = np.sqrt(
        sum((w * (expert - base)) ** 2 for w, expert in zip(weights[1:], experts, strict=True)) / seeds
    )
    off = np.abs(np.mean(runs, axis=0) - merged("task_arithmetic", sources, weights))
    assert (off < 4.5 * deviation + 1e-6).all()


@pytest.mark.parametrize("held", SLICES)
def test_with_l1_every_tensor_has_the_norm_that_it_had(held):
    base, legal, *_ = models()
    change = merged("dare_linear", [base, legal], held=held, density=0.3, rescale="l1") - flat(base)
    for after, before in zip(tensors(change), tensors(flat(legal) - flat(base)), strict=True):
        np.testing.assert_allclose(np.abs(after).sum(), np.abs(before).sum(), rtol=1e-5)
        assert (after == 0).any()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("rescale", ["inverse", "l1", "none"])
def test_density_zero_leaves_the_base_and_density_one_task_arithmetic(rescale):
    found = merged("dare_linear", models(), density=0, rescale=rescale)
    assert found.tobytes() == flat(models()[0]).tobytes()
    found = merged("dare_linear", models(), density=1, rescale=rescale)
    np.testing.assert_allclose(found, merged("task_arithmetic", models()), atol=1e-6)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("rescale", ["inverse", "l1", "none"])
def test_an_expert_that_has_not_moved_gives_the_base(rescale):
    base = models()[0]
    assert merged("dare_linear", [base, base], rescale=rescale).tobytes() == flat(base).tobytes()


def test_the_same_seed_gives_the_same_bits_and_another_seed_others():
    first, again, other = (merged("dare_linear", models(), seed=seed).tobytes() for seed in (7, 7, 8))
    assert first == again
    assert first != other


@pytest.mark.parametrize("rescale", ["inverse", "none"])
def test_slices_change_no_bit(rescale):
    runs = {merged("dare_linear", models(), None, held, rescale=rescale).tobytes() for held in (*SLICES, 12)}
    assert len(runs) == 1


@pytest.mark.parametrize("order", list(permutations([1, 2, 3])))
def test_the_order_of_the_experts_does_not_matter(order):
    weights = [0.1, 0.5, 0.3, 0.1]
    wanted = merged("dare_linear", models(), weights)
    turned = [0, *order]
    found = merged(
        "dare_linear",
        [models()[row] for row in turned],
        [weights[row] for row in turned],
        names=[NAMES[row] for row in turned],
    )
    np.testing.assert_allclose(found, wanted, atol=1e-6)


@pytest.mark.parametrize("held", SLICES)
@pytest.mark.parametrize("rescale", ["inverse", "l1", "none"])
def test_each_expert_may_have_a_density_of_its_own_that_differs_from_block_to_block(rescale, held):
    base, weights = models()[0], [0.1, 0.5, 0.3, 0.1]
    wanted = [tensor.astype(float) for tensor in tensors(flat(base))]
    for row, densities in enumerate(SHARES_OF_TENSORS, start=1):
        names = [NAMES[0], NAMES[row]]
        for place, density in enumerate(densities):
            alone = merged(
                "dare_linear", [base, models()[row]], names=names, density=density, rescale=rescale
            )
            wanted[place] += weights[row] * tensors(alone - flat(base))[place]
    found = merged("dare_linear", models(), weights, held, density=SHARES, rescale=rescale)
    np.testing.assert_allclose(found, np.concatenate([one.ravel() for one in wanted]), atol=2e-6)


def test_each_expert_is_divided_by_its_own_density():
    base = {"w": np.zeros(2000)}
    experts = [{"w": np.full(2000, 1.0)}, {"w": np.full(2000, 100.0)}]
    found = merged("dare_linear", [base, *experts], density={"expert legal": 0.25, "*": 0.5})
    # Halves of 1 / 0.25 and of 100 / 0.5, each there or not.
    assert set(np.round(found, 3)) == {0, 2, 100, 102}
    assert abs(np.mean(found % 100 == 2) - 0.25) < 0.05
    assert abs(np.mean(found >= 100) - 0.5) < 0.05
