from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from formulas import NAMES, SLICES, WEIGHTS, agreeing, by_formula, flat, merged, models, tensors

SEEDS = 60


def task_vector(number):
    return flat(models()[number]).astype(float) - flat(models()[0])


def survivors(number, **parameters):
    """Where the expert of this number keeps its changes, told from a merge of it alone."""
    base, expert = models()[0], models()[number]
    found = merged("della", [base, expert], names=[NAMES[0], NAMES[number]], rescale="none", **parameters)
    return found != flat(base)


def probabilities(tau, density, epsilon):
    """`d - ε + 2ε · (r - 1) / (c - 1)`, r the rank of `|τ|` among the c of its row, 1 for the smallest."""
    found = []
    for tensor in tensors(tau):
        rows = np.abs(np.atleast_2d(tensor))
        ranks = 1 + np.argsort(np.argsort(rows, axis=1), axis=1)
        found.append(density - epsilon + 2 * epsilon * (ranks - 1) / (rows.shape[1] - 1))
    return np.concatenate([one.ravel() for one in found])


def della(density, epsilon, agg):
    """MagPrune with the masks that each expert has alone, then elect and fuse."""

    def formula(taus, shares):
        left = [
            tau * survivors(1 + row, density=density, epsilon=epsilon) / probabilities(tau, density, epsilon)
            for row, tau in enumerate(taus)
        ]
        return agreeing(np.stack(left), shares, agg)

    return formula


@pytest.mark.parametrize("held", SLICES)
@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize(("density", "epsilon"), [(0.5, 0.15), (0.7, 0.07), (0.3, 0.2)])
@pytest.mark.parametrize("agg", ["mean", "sum"])
def test_is_the_formula_on_whole_flat_models(weights, density, epsilon, agg, held):
    sources = models()[: len(weights)]
    wanted = by_formula(sources, weights, della(density, epsilon, agg))
    found = merged("della", sources, weights, held, density=density, epsilon=epsilon, agg=agg)
    np.testing.assert_allclose(found, wanted, atol=3e-6)


def probabilities_found(number, **parameters):
    """What the survivors are divided by, of as many elements as survive under some seed."""
    base, expert = models()[0], models()[number]
    divisor = np.full(flat(base).shape, np.nan)
    for seed in range(SEEDS):
        change = merged("della", [base, expert], seed=seed, **parameters) - flat(base)
        kept = change != 0
        divisor[kept] = task_vector(number)[kept] / change[kept]
    return divisor


@pytest.mark.parametrize(("density", "epsilon"), [(0.5, 0.15), (0.8, 0.2), (0.4, 0.3)])
def test_the_probability_of_being_kept_rises_with_the_rank_in_the_row_and_has_the_density_as_mean(
    density, epsilon
):
    found = probabilities_found(1, density=density, epsilon=epsilon)
    wanted = probabilities(task_vector(1), density, epsilon)
    np.testing.assert_allclose(found, wanted, rtol=1e-3)
    for tensor, tau in zip(tensors(found), tensors(task_vector(1)), strict=True):
        np.testing.assert_allclose(np.mean(tensor, axis=-1), density, rtol=1e-3)
        by_size = np.take_along_axis(tensor, np.argsort(np.abs(tau), axis=-1), axis=-1)
        assert (np.diff(by_size, axis=-1) > 0).all()


def test_elements_are_kept_as_often_as_their_probability_says():
    base = {"w": np.zeros((5000, 5))}
    expert = {"w": np.tile([3.0, -1, 5, 2, -4], (5000, 1))}
    kept = merged("della", [base, expert], density=0.5, epsilon=0.4).reshape(5000, 5) != 0
    np.testing.assert_allclose(kept.mean(axis=0), [0.5, 0.1, 0.9, 0.3, 0.7], atol=0.035)


@pytest.mark.parametrize("density", [0.05, 0.95])
def test_epsilon_is_held_to_what_leaves_probabilities(density):
    # 0.05 - 0.15 is none; the mean must stay the density nevertheless.
    found = probabilities_found(1, density=density, epsilon=0.15)
    wanted = probabilities(task_vector(1), density, 0.05)
    seen = np.isfinite(found)
    assert seen.mean() > 0.5
    np.testing.assert_allclose(found[seen], wanted[seen], rtol=1e-3)


def test_of_equal_changes_the_first_is_the_smaller():
    base, expert = {"w": np.zeros((1, 4))}, {"w": np.array([[2.0, -2, 1, 2]])}
    changes = np.array(
        [merged("della", [base, expert], density=0.5, epsilon=0.3, seed=seed) for seed in range(SEEDS)]
    )
    divisors = np.abs(expert["w"]) / np.abs(changes).max(axis=0)
    np.testing.assert_allclose(divisors[0], [0.4, 0.6, 0.2, 0.8], atol=1e-6)


def test_without_epsilon_all_are_kept_alike_as_dare_keeps_them():
    weights = [0.1, 0.5, 0.3, 0.1]
    found = merged("della", models(), weights, epsilon=0, density=0.4)
    assert found.tobytes() == merged("dare_ties", models(), weights, density=0.4).tobytes()


def test_over_the_seeds_the_mean_of_one_expert_is_the_expert():
    sources, runs = models()[:2], 300
    mean = np.mean([merged("della", sources, density=0.5, seed=seed) for seed in range(runs)], axis=0)
    kept = probabilities(task_vector(1), 0.5, 0.15)
    deviation = np.abs(task_vector(1)) * np.sqrt((1 - kept) / kept / runs)
    assert (np.abs(mean - flat(sources[1])) < 4.5 * deviation + 1e-6).all()


@pytest.mark.parametrize("held", SLICES)
def test_with_l1_every_tensor_has_the_norm_that_it_had(held):
    base, legal, *_ = models()
    change = merged("della", [base, legal], held=held, rescale="l1") - flat(base)
    for after, before in zip(tensors(change), tensors(task_vector(1)), strict=True):
        np.testing.assert_allclose(np.abs(after).sum(), np.abs(before).sum(), rtol=1e-5)
        assert (after == 0).any()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("rescale", ["inverse", "l1", "none"])
def test_density_zero_leaves_the_base_and_density_one_ties_without_trimming(rescale):
    found = merged("della", models(), density=0, rescale=rescale)
    assert found.tobytes() == flat(models()[0]).tobytes()
    found = merged("della", models(), density=1, rescale=rescale)
    np.testing.assert_allclose(found, merged("ties", models(), density=1), atol=1e-6)


@pytest.mark.filterwarnings("error")
def test_a_row_of_one_element_is_kept_with_the_density():
    base, expert = {"w": np.zeros((4000, 1)), "s": np.zeros(())}, {"w": np.ones((4000, 1)), "s": np.ones(())}
    kept = merged("della", [base, expert], density=0.6)[:4000] != 0
    np.testing.assert_allclose(kept.mean(), 0.6, atol=0.04)


def test_the_same_seed_gives_the_same_bits_and_another_seed_others():
    first, again, other = (merged("della", models(), seed=seed).tobytes() for seed in (7, 7, 8))
    assert first == again
    assert first != other


def test_slices_change_no_bit():
    whole, cut = (merged("della", models(), None, held) for held in SLICES)
    assert whole.tobytes() == cut.tobytes()


@pytest.mark.parametrize("order", list(permutations([1, 2, 3]))[1:])
def test_the_order_of_the_experts_does_not_matter(order):
    turned = [0, *order]
    sources, names = [models()[row] for row in turned], [NAMES[row] for row in turned]
    found = merged("della", sources, names=names)
    np.testing.assert_allclose(found, merged("della", models()), atol=1e-6)


def test_each_expert_may_have_a_density_and_an_epsilon_of_its_own():
    densities, epsilons = (0.3, 0.5, 0.8), (0.25, 0.15, 0.1)

    def formula(taus, shares):
        rows = enumerate(zip(taus, densities, epsilons, strict=True))
        return agreeing(
            np.stack(
                [
                    tau * survivors(1 + row, density=d, epsilon=e) / probabilities(tau, d, e)
                    for row, (tau, d, e) in rows
                ]
            ),
            shares,
        )

    weights = [0.1, 0.5, 0.3, 0.1]
    found = merged(
        "della",
        models(),
        weights,
        density={"expert news": 0.8, "expert legal": {"*": 0.3}},
        epsilon={"expert legal": 0.25, "expert news": 0.1, "*": 0.15},
    )
    np.testing.assert_allclose(found, by_formula(models(), weights, formula), atol=3e-6)


def test_in_each_block_an_expert_may_have_another_density():
    base, legal, code, _ = models()
    density = {"expert code": {"block 0": 0.9, "*": 0.4}, "*": 0.5}
    found = tensors(merged("della", [base, legal, code], density=density))
    for place, share in enumerate((0.4, 0.9, 0.4, 0.4, 0.4)):
        wanted = merged("della", [base, legal, code], density={"expert code": share, "expert legal": 0.5})
        np.testing.assert_array_equal(found[place], tensors(wanted)[place])
