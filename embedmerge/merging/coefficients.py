"""What each source counts for."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from embedmerge.errors import EmbedmergeError

if TYPE_CHECKING:
    from collections.abc import Sequence

SUM_TOLERANCE = 1e-4


@dataclass(frozen=True)
class Coefficients:
    """One weight per source, base first, the same for every tensor.

    Attributes:
        weights: Source name -> weight, in the order of the sources.
    """

    weights: dict[str, float]

    @classmethod
    def explicit(cls, names: Sequence[str], weights: Sequence[float]) -> Coefficients:
        """Weights as the user gives them.

        >>> Coefficients.explicit(["base", "legal"], [0.25, 0.75]).weights
        {'base': 0.25, 'legal': 0.75}

        Raises:
            EmbedmergeError: As many weights as sources are wanted, finite, with sum 1.
        """
        if len(weights) != len(names):
            known = ", ".join(names)
            msg = f"weights: {len(weights)} given for {len(names)} sources ({known}); one each, base first"
            raise EmbedmergeError(msg)
        if not all(math.isfinite(weight) for weight in weights):
            msg = f"weights: {', '.join(map(str, weights))} are not all finite numbers"
            raise EmbedmergeError(msg)
        total = math.fsum(weights)
        if abs(total - 1) > SUM_TOLERANCE:
            addends = " + ".join(map(str, weights))
            msg = f"weights: {addends} = {total:.6g}, and must be 1; the base takes what is left"
            raise EmbedmergeError(msg)
        return cls(dict(zip(names, map(float, weights), strict=True)))

    @classmethod
    def uniform(cls, names: Sequence[str]) -> Coefficients:
        """The same weight for every source."""
        return cls(dict.fromkeys(names, 1 / len(names)))

    def for_tensor(self, name: str) -> tuple[float, ...]:
        """The coefficients of one tensor, base first."""
        return tuple(self.weights.values())
