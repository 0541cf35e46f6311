from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
from formulas import SLICES, WEIGHTS, agreeing, by_formula, flat, merged, merged_vectors, models

TOPKS = (0, 0.1, 0.5, 1)
of_vectors = partial(merged_vectors, "sce")


def sce(select_topk, *, equalise=False):
    """Select by variance, calculate weights from squares, erase minority signs, on one whole tensor."""

    def formula(taus, shares):
        variance = taus.var(axis=0)
        count = math.ceil(round(select_topk * variance.size, 9))
        threshold = np.sort(variance)[::-1][count - 1] if count else math.inf
        selected = np.where(variance >= threshold, taus, 0)
        energies = (selected**2).mean(axis=1)
        if equalise:
            energies /= (taus**2).mean(axis=1)
        return agreeing(selected, shares, emphasis=energies / (energies.sum() or 1))

    return formula


@pytest.mark.parametrize("weights", [w for w in WEIGHTS if len(w) > 2])
@pytest.mark.parametrize("select_topk", TOPKS)
@pytest.mark.parametrize("equalise", [False, True])
@pytest.mark.parametrize("held", SLICES)
def test_is_the_formula_on_each_whole_tensor(weights, select_topk, equalise, held):
    sources = models()[: len(weights)]
    wanted = by_formula(sources, weights, sce(select_topk, equalise=equalise), scope="tensor")
    found = merged("sce", sources, weights, held, select_topk=select_topk, equalise=equalise)
    np.testing.assert_allclose(found, wanted, atol=1e-6)


@pytest.mark.parametrize("select_topk", TOPKS[1:])
@pytest.mark.parametrize("weight", [1, 0.6])
def test_one_expert_differs_from_no_other_and_is_taken_as_it_is(select_topk, weight):
    base, legal, *_ = models()
    found = merged("sce", [base, legal], [1 - weight, weight], select_topk=select_topk)
    np.testing.assert_allclose(found, (1 - weight) * flat(base) + weight * flat(legal), atol=1e-6)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("equalise", [False, True])
@pytest.mark.parametrize("select_topk", TOPKS[1:])
def test_identical_experts_give_that_expert(select_topk, equalise):
    # Where none of the variances is above zero, the authors' code selects nothing and gives the base.
    base, legal, *_ = models()
    found = merged("sce", [base, legal, legal, legal], select_topk=select_topk, equalise=equalise)
    np.testing.assert_allclose(found, flat(legal), atol=1e-6)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("equalise", [False, True])
def test_experts_that_have_not_moved_give_the_base(equalise):
    base = models()[0]
    assert merged("sce", [base, base, base], equalise=equalise).tobytes() == flat(base).tobytes()
    assert np.isfinite(merged("sce", [*models()[:2], base], equalise=equalise)).all()


def test_the_share_is_of_all_elements_as_in_the_paper():
    # The authors' code takes it of those that differ at all: here one of two, and not two of four.
    found = of_vectors([3.0, 1, 1, 1], [1.0, 2, 1, 1], select_topk=0.5)
    energies = np.array([9 + 1, 1 + 4]) / 15
    np.testing.assert_allclose(found, [energies @ [3, 1], energies @ [1, 2], 0, 0], rtol=1e-6)


def test_the_expert_that_moved_further_counts_for_more():
    found = of_vectors([2.0, 4], [1.0, 1], select_topk=1)
    np.testing.assert_allclose(found, [(20 * 2 + 2 * 1) / 22, (20 * 4 + 2 * 1) / 22], rtol=1e-6)


def test_equalised_the_length_of_a_task_vector_does_not_matter():
    long, short = np.array([2.0, 4, 1, 3]), np.array([1.0, 1, 2, 3])
    found = of_vectors(long, short / 1000, select_topk=1, equalise=True)
    np.testing.assert_allclose(found, (long + short / 1000) / 2, rtol=1e-6)


def test_where_changes_cancel_no_sign_is_elected():
    np.testing.assert_allclose(of_vectors([1.0, 2], [-1.0, 3], select_topk=1)[0], 0)


def test_the_sign_is_elected_by_size_and_not_by_energy():
    # The second expert has more energy, but their sum at the first element is positive.
    found = of_vectors([2.0, 0.1], [-1.0, 9], select_topk=1)
    np.testing.assert_allclose(found[0], 2, rtol=1e-6)


def test_the_weights_of_the_user_count_on_top_of_the_energies():
    first, second = [2.0, 1], [1.0, 3]
    found = of_vectors(first, second, weights=[0.0, 0.8, 0.2], select_topk=1)
    weights = np.array([0.8 * 5, 0.2 * 10]) / (0.8 * 5 + 0.2 * 10)
    np.testing.assert_allclose(found, weights @ [first, second], rtol=1e-6)
