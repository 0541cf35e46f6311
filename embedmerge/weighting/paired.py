"""What mixtures gain on one another, query by query."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from embedmerge.weighting.guard import standard_errors
from embedmerge.weighting.landscape import grouped_means

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from embedmerge.weighting.landscape import Side

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
