"""What mixtures gain on one another, query by query."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from embedmerge.retrieval.uncertainty import interval
from embedmerge.weighting.guard import standard_errors
from embedmerge.weighting.quality import grouped_means
from embedmerge.weighting.selection import Estimate

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from embedmerge.weighting.quality import Side

    Float64 = NDArray[np.float64]

NOISE = 1e-6  # of a mean, from float32 arithmetic


@dataclass(frozen=True)
class Gain:
    """Paired differences of some mixtures to one.

    Attributes:
        means: Mean differences, shape (mixtures,).
        errors: Their standard errors, the same shape; 0 with a single query.
    """

    means: Float64
    errors: Float64

    @classmethod
    def on_the_first(cls, side: Side) -> Gain:
        """Of all mixtures but the first, on the first.

        Args:
            side: Of at least two mixtures.
        """
        differences = side.values[1:] - side.values[0]
        return cls(grouped_means(differences, side.groups), standard_errors(differences, side.groups))

    def exceeds(self, margin: float) -> NDArray[np.bool_]:
        """Where the gain is more than some standard errors of itself, shape (mixtures,)."""
        return self.means > margin * self.errors + NOISE

    def within(self, margin: float) -> NDArray[np.bool_]:
        """Where no more than some standard errors are lost, shape (mixtures,)."""
        return self.means >= -margin * self.errors - NOISE


def estimated(own: Side, rival: Side | None = None) -> Estimate:
    """The mean of one mixture, or that of its paired difference to another, with its interval.

    Args:
        own: Of one mixture.
        rival: Of another one, on the same queries.
    """
    values = own.values[0] if rival is None else own.values[0] - rival.values[0]
    low, high = interval([values[own.groups == group] for group in np.unique(own.groups)])
    return Estimate(float(grouped_means(values[None], own.groups)[0]), low, high)
