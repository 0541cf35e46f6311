from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import permutation_test, ttest_1samp

from embedmerge.evaluation.significance import (
    EXACT,
    RANDOMISATIONS,
    Difference,
    corrected,
    holm,
    randomisation_p,
    signed_means,
)


def null_of(groups: list[np.ndarray]) -> np.ndarray:
    return np.mean([signed_means(group[:, None], seed)[:, 0] for seed, group in enumerate(groups)], axis=0)


def p_of(*groups: np.ndarray) -> float:
    return randomisation_p(list(groups), null_of(list(groups)))


@given(st.lists(st.integers(-40, 40), min_size=2, max_size=9))
@settings(deadline=None, max_examples=40)
def test_with_few_queries_it_is_scipys_exact_test(values: list[int]) -> None:
    deltas = np.array(values) / 4
    wanted = permutation_test((deltas,), np.mean, permutation_type="samples", n_resamples=np.inf).pvalue
    assert p_of(deltas) == pytest.approx(wanted)


@pytest.mark.parametrize("shift", [0.0, 0.8, 1.6])
def test_with_many_queries_it_is_scipys_test_up_to_chance(shift: float) -> None:
    deltas = np.random.default_rng(3).normal(shift, 8, 150)
    wanted = permutation_test((deltas,), np.mean, permutation_type="samples", rng=1).pvalue
    spread = np.sqrt(wanted * (1 - wanted) / RANDOMISATIONS)
    assert p_of(deltas) == pytest.approx(wanted, abs=5 * spread + 2e-4)


def test_means_over_tasks_draw_signs_within_each() -> None:
    random = np.random.default_rng(0)
    large, small = random.normal(0.4, 4, 400), random.normal(2.0, 9, 60)
    error = np.sqrt(large.var() / 400 + small.var() / 60) / 2
    null = null_of([large, small])
    assert null.std() == pytest.approx(error, rel=0.1)
    assert null.mean() == pytest.approx(0, abs=0.05 * error)
    assert p_of(large, small) < p_of(small)


def test_ties_do_not_take_part() -> None:
    deltas = np.r_[np.zeros(1000), np.arange(1.0, EXACT)]
    assert p_of(deltas) == 2 / 2 ** (EXACT - 1)


def test_models_that_are_the_same_are_not_told_apart() -> None:
    assert p_of(np.zeros(300)) == 1


def test_p_is_never_zero() -> None:
    assert p_of(np.full(500, 3.0)) == 1 / (RANDOMISATIONS + 1)


def test_without_a_difference_one_in_twenty_is_below_a_twentieth() -> None:
    random = np.random.default_rng(5)
    columns = random.standard_t(4, size=(40, 400))
    signed = signed_means(columns, 0)
    found = [randomisation_p([columns[:, place]], signed[:, place]) for place in range(400)]
    assert 8 <= sum(p < 0.05 for p in found) <= 33  # 20 expected, within three standard errors
    t_test = ttest_1samp(columns, 0).pvalue
    assert np.corrcoef(found, t_test)[0, 1] > 0.99


def test_columns_get_the_same_signs_every_time() -> None:
    values = np.random.default_rng(1).normal(size=(30, 3))
    first = signed_means(values, 7)
    assert first.shape == (RANDOMISATIONS, 3)
    np.testing.assert_array_equal(first, signed_means(values, 7))
    deltas = (values[:, 0] - values[:, 1])[:, None]
    np.testing.assert_allclose(first[:, 0] - first[:, 1], signed_means(deltas, 7)[:, 0], atol=1e-12)
    assert not np.allclose(first, signed_means(values, 8))


def test_holm_is_bonferroni_for_the_first_and_less_for_the_rest() -> None:
    p_values = [0.011, 0.02, 0.005, 0.9]
    assert holm(p_values) == pytest.approx([0.033, 0.04, 0.02, 0.9])
    assert holm([0.6, 0.7]) == [1, 1]
    assert holm([]) == []


@given(st.lists(st.floats(1e-4, 1), min_size=1, max_size=12))
def test_holm_keeps_the_order_and_never_lowers(p_values: list[float]) -> None:
    found = np.array(holm(p_values))
    assert (found >= np.array(p_values)).all() and (found <= 1).all()
    assert (np.diff(found[np.argsort(p_values, kind="stable")]) >= 0).all()


def test_what_is_significant_alone_may_not_be_among_several() -> None:
    alone = Difference(1.0, 0.1, 1.9, p=0.04)
    assert alone.is_significant
    first, second = corrected([alone, Difference(0.1, -1, 1, p=0.5)])
    assert (first.p_holm, second.p_holm) == (0.08, 0.5)
    assert not first.is_significant
    assert not Difference(1.0, 0.1, 1.9).is_significant  # never tested
