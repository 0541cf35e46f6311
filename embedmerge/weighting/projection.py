"""Weights moved to the nearest that are within bounds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float64 = NDArray[np.float64]

HALVINGS = 60  # of the interval in which a shift is looked for


def within(weights: Float64, bounds: tuple[float, float]) -> Float64:
    """The nearest weights of the experts that are within bounds and leave the base within them.

    Of all points of a box whose sum is given, the nearest is the point itself minus one number for all,
    cut to the box.

    >>> within(np.array([[0.5, 0.3], [0.9, 0.5], [1.2, -0.1]]), (0.0, 1.0)).round(9)
    array([[0.5, 0.3],
           [0.7, 0.3],
           [1. , 0. ]])

    Args:
        weights: Shape (points, experts); the base takes what is left to 1.
        bounds: Lowest and highest weight of any source.
    """
    low, high = bounds
    cut = weights.clip(low, high)
    sums = cut.sum(axis=1, keepdims=True)
    wanted = sums.clip(1 - high, 1 - low)
    reach = np.abs(weights).max(initial=1) + abs(low) + high
    lowest, highest = np.full_like(sums, -reach), np.full_like(sums, reach)
    for _ in range(HALVINGS):
        middle = (lowest + highest) / 2
        too_much = (weights - middle).clip(low, high).sum(axis=1, keepdims=True) > wanted
        lowest, highest = np.where(too_much, middle, lowest), np.where(too_much, highest, middle)
    return np.where(wanted == sums, cut, (weights - highest).clip(low, high))
