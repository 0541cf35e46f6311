"""How sure a mean over queries is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import bootstrap

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Float64 = NDArray[np.float64]

RESAMPLES = 2000


def bootstrap_means(groups: Sequence[Float64]) -> Float64:
    """Means over groups of the means of resampled queries, each group resampled on its own.

    Args:
        groups: Values of the queries of each group; a group of one is taken as it is.

    Returns:
        Shape (RESAMPLES,); the same every time.
    """
    drawn: Float64 = np.mean([_resampled(values) for values in groups], axis=0)
    return drawn


def interval(groups: Sequence[Float64]) -> tuple[float, float]:
    """The 95 % percentile interval of the mean over groups of means over queries."""
    low, high = np.percentile(bootstrap_means(groups), [2.5, 97.5])
    return float(low), float(high)


def _resampled(values: Float64) -> Float64:
    if len(values) < 2:
        return np.full(RESAMPLES, values.mean())
    drawn = bootstrap((values,), np.mean, n_resamples=RESAMPLES, batch=100, method="percentile", rng=0)
    return np.asarray(drawn.bootstrap_distribution)
