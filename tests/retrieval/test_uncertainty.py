from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import bootstrap

from embedmerge.retrieval.uncertainty import RESAMPLES, bootstrap_means, interval, resampled_means


def test_the_interval_of_one_group_is_that_of_a_normal_mean() -> None:
    values = np.random.default_rng(0).normal(50, 8, 400)
    low, high = interval([values])
    error = values.std(ddof=1) / np.sqrt(len(values))
    assert low == pytest.approx(values.mean() - 1.96 * error, abs=0.15 * error)
    assert high == pytest.approx(values.mean() + 1.96 * error, abs=0.15 * error)


def test_groups_count_alike_however_many_queries_they_have() -> None:
    random = np.random.default_rng(1)
    large, small = random.normal(10, 1, 900), random.normal(40, 6, 30)
    drawn = bootstrap_means([large, small])
    assert drawn.shape == (RESAMPLES,)
    error = np.sqrt(large.var(ddof=1) / 900 + small.var(ddof=1) / 30) / 2
    assert drawn.mean() == pytest.approx((large.mean() + small.mean()) / 2, abs=0.1 * error)
    assert drawn.std() == pytest.approx(error, rel=0.1)


def test_a_group_of_one_is_taken_as_it_is() -> None:
    assert interval([np.array([3.0])]) == (3.0, 3.0)
    values = np.random.default_rng(2).normal(size=50)
    alone, beside = interval([values]), interval([values, np.array([5.0])])
    assert beside == pytest.approx(tuple((end + 5) / 2 for end in alone))


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=30))
@settings(deadline=None, max_examples=25)
def test_an_interval_lies_within_the_values(values: list[float]) -> None:
    low, high = interval([np.array(values)])
    assert min(values) - 1e-9 <= low <= high <= max(values) + 1e-9


def test_the_draws_are_the_same_every_time() -> None:
    groups = [np.arange(10.0), np.arange(5.0) ** 2]
    np.testing.assert_array_equal(bootstrap_means(groups), bootstrap_means(groups))


def test_equal_values_leave_no_doubt() -> None:
    assert interval([np.full(20, 7.0), np.full(3, 1.0)]) == (4.0, 4.0)


def test_draws_are_those_of_scipys_bootstrap() -> None:
    values = np.random.default_rng(4).normal(50, 20, (90, 3))
    theirs = bootstrap(
        (values,), np.mean, axis=0, n_resamples=RESAMPLES, batch=100, method="percentile", rng=11
    )
    np.testing.assert_allclose(resampled_means(values, 11), theirs.bootstrap_distribution.T, atol=1e-9)


def test_columns_are_drawn_together_and_groups_are_not() -> None:
    values = np.random.default_rng(5).normal(size=60)
    drawn = resampled_means(np.stack([values, 2 * values], axis=1))
    np.testing.assert_allclose(2 * drawn[:, 0], drawn[:, 1])
    twice = bootstrap_means([values, values])  # a task that is there twice is two tasks
    assert twice.std() == pytest.approx(drawn[:, 0].std() / np.sqrt(2), rel=0.1)
