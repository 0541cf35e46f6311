"""Weights cut to the decimals that are kept of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    Float64 = NDArray[np.float64]

# Encoding differs by about 1e-7 between machines; weights cut here seldom do.
DECIMALS = 4


def in_decimals(weights: Float64, decimals: int = DECIMALS) -> Float64:
    """Cut weights, the largest taking what is left to 1, so that a 0 stays 0 and none falls below.

    >>> in_decimals(np.array([0.0, 1 / 3, 2 / 3]))
    array([0. , 0.3333, 0.6667])

    Args:
        weights: Shape (sources,), with sum 1.
        decimals: How many are kept.

    Returns:
        Shape (sources,), with sum 1.
    """
    cut = weights.round(decimals)
    largest = int(np.argmax(cut))
    cut[largest] = round(1 - np.delete(cut, largest).sum(), decimals)
    return cut


def named(names: Sequence[str], weights: Float64, decimals: int = DECIMALS) -> dict[str, float]:
    """Cut weights by the names of their sources.

    >>> named(["base", "legal"], np.array([1 / 3, 2 / 3]))
    {'base': 0.3333, 'legal': 0.6667}
    """
    return dict(zip(names, in_decimals(weights, decimals).tolist(), strict=True))


def rounded(weights: Mapping[str, float], decimals: int = DECIMALS) -> dict[str, float]:
    """Cut weights that have names already.

    >>> rounded({"base": 0.33333, "legal": 0.66667}, 3)
    {'base': 0.333, 'legal': 0.667}
    """
    return named(list(weights), np.array(list(weights.values())), decimals)
