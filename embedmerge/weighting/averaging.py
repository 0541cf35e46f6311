"""Strategies whose mixtures are averages, with no weight below 0 or above 1."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pydantic import field_validator

from embedmerge.errors import EmbedmergeError
from embedmerge.weighting.cocktail import DECIMALS
from embedmerge.weighting.guarded import Guarded

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float64 = NDArray[np.float64]

WHOLE = (0.0, 1.0)


class Averaging(Guarded):
    """A guarded strategy that only averages."""

    @field_validator("bounds")
    @classmethod
    def _only_averages(cls, bounds: tuple[float, float]) -> tuple[float, float]:
        if bounds != WHOLE:
            msg = (
                f"bounds: {bounds[0]:g} to {bounds[1]:g}; this strategy averages, with weights from 0 to 1; "
                "leave bounds out, or choose by front"
            )
            raise EmbedmergeError(msg)
        return bounds


def in_decimals(weights: Float64) -> Float64:
    """Weights cut to the decimals that are kept of them, the largest taking what is left to 1.

    A weight of 0 stays 0, and none falls below.

    >>> in_decimals(np.array([0.0, 1 / 3, 2 / 3]))
    array([0. , 0.3333, 0.6667])

    Args:
        weights: Shape (sources,), with sum 1 and none below 0.

    Returns:
        Shape (sources,), with sum 1.
    """
    cut = weights.round(DECIMALS)
    largest = int(np.argmax(cut))
    cut[largest] = round(1 - np.delete(cut, largest).sum(), DECIMALS)
    return cut
