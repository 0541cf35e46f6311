"""How sure a mean over queries is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Float64 = NDArray[np.float64]

RESAMPLES = 2000
BATCH = 100  # resamples that are held at a time


def resampled_means(values: Float64, seed: int = 0) -> Float64:
    """Means of queries drawn with replacement (Efron and Tibshirani 1993, chapter 13).

    What is in one row is drawn together, so a difference of two columns is a draw of the paired difference.
    SciPy's `bootstrap` gives the same draws but takes the mean of a copy for each, which costs three times
    as much with six columns; here a draw is how often each query was taken, times the values.

    >>> draws = resampled_means(np.array([[50.0, 60.0], [30.0, 40.0], [80.0, 90.0]]))
    >>> draws.shape, np.ptp(draws[:, 1] - draws[:, 0]).round(9).item()
    ((2000, 2), 0.0)

    Args:
        values: Shape (queries, columns); a single query is taken as it is.
        seed: Of the draws.

    Returns:
        Shape (RESAMPLES, columns); the same every time.
    """
    queries = len(values)
    random = np.random.default_rng(seed)
    batches = [_times_drawn(random, queries) @ values for _ in range(RESAMPLES // BATCH)]
    return np.concatenate(batches) / queries


def bootstrap_means(groups: Sequence[Float64]) -> Float64:
    """Means over groups of the means of resampled queries, each group resampled on its own.

    Args:
        groups: Values of the queries of each group; a group of one is taken as it is.

    Returns:
        Shape (RESAMPLES,); the same every time.
    """
    draws = [resampled_means(values[:, None], place)[:, 0] for place, values in enumerate(groups)]
    means: Float64 = np.mean(draws, axis=0)
    return means


def interval(groups: Sequence[Float64]) -> tuple[float, float]:
    """The 95 % percentile interval of the mean over groups of means over queries."""
    return middle(bootstrap_means(groups))


def middle(draws: Float64) -> tuple[float, float]:
    """The ends of the middle 95 % of draws, shape (draws,)."""
    low, high = np.percentile(draws, [2.5, 97.5])
    return float(low), float(high)


def _times_drawn(random: np.random.Generator, queries: int) -> Float64:
    """How often each query is in each of a batch of resamples, shape (BATCH, queries)."""
    rows = random.integers(0, queries, (BATCH, queries)) + queries * np.arange(BATCH)[:, None]
    return np.bincount(rows.ravel(), minlength=BATCH * queries).reshape(BATCH, queries).astype(np.float64)
