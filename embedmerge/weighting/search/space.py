"""Where a search looks: weights of the experts, and parameters of the method, as points of a unit cube."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from embedmerge.weighting.decimals import DECIMALS
from embedmerge.weighting.projection import within

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from embedmerge.weighting.search.ranges import Range

    Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class Point:
    """A mixture that may be looked at.

    Attributes:
        weights: One per source, base first, with sum 1.
        parameters: Searched parameters of the method by name.
    """

    weights: tuple[float, ...]
    parameters: dict[str, float] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """The same for equal points."""
        return json.dumps([self.weights, sorted(self.parameters.items())])


@dataclass(frozen=True)
class Space:
    """All mixtures within bounds; coordinates from 0 to 1, first of the experts' weights.

    The base takes what is left to 1.

    Attributes:
        sources: Number of sources.
        live: Places of the sources that may get a weight, the base first.
        bounds: Lowest and highest weight of any source.
        ranges: Of the searched parameters.
    """

    sources: int
    live: Sequence[int]
    bounds: tuple[float, float]
    ranges: Mapping[str, Range]

    @property
    def experts(self) -> int:
        """How many experts may get a weight."""
        return len(self.live) - 1

    @property
    def dimensions(self) -> int:
        """Number of coordinates."""
        return self.experts + len(self.ranges)

    @property
    def landmarks(self) -> Float64:
        """The base alone, the uniform average, and every expert alone, shape (experts + 2, dimensions).

        Parameters are where their search starts.
        """
        nothing, average = np.zeros(self.experts), np.full(self.experts, 1 / len(self.live))
        low, high = self.bounds
        weights = (np.vstack([nothing, average, np.eye(self.experts)]) - low) / (high - low)
        return np.hstack([weights, np.tile(self._parameters_at_start, (len(weights), 1))])

    def drawn(self, number: int, generator: np.random.Generator) -> Float64:
        """Points all over the space, shape (number, dimensions): weights even over the simplex."""
        shares = generator.dirichlet(np.ones(len(self.live)), number)
        low, high = self.bounds
        stretched = 1 / len(self.live) + (high - low) * (shares - 1 / len(self.live))
        weights = (stretched[:, 1:] - low) / (high - low)
        return self.repaired(np.hstack([weights, generator.random((number, len(self.ranges)))]))

    def repaired(self, coordinates: Float64) -> Float64:
        """The nearest points whose weights, the base's among them, are within bounds.

        Args:
            coordinates: Shape (points, dimensions).
        """
        low, high = self.bounds
        repaired = np.clip(coordinates, 0, 1)
        weights = within(low + (high - low) * coordinates[:, : self.experts], self.bounds)
        repaired[:, : self.experts] = np.clip((weights - low) / (high - low), 0, 1)
        return repaired

    def point(self, coordinates: Float64) -> Point:
        """The mixture at some coordinates, cut to the decimals that are kept.

        Args:
            coordinates: Shape (dimensions,), repaired.
        """
        low, high = self.bounds
        weights = (low + (high - low) * coordinates[: self.experts]).round(DECIMALS)
        # Rounding may take the base beyond its bounds by a last digit, which the largest weight gives back.
        excess = weights.sum() - np.clip(weights.sum(), 1 - high, 1 - low)
        if excess:
            weights[weights.argmax()] -= excess
        whole = np.zeros(self.sources)
        whole[list(self.live[1:])] = weights
        whole[0] = 1 - weights.sum()
        return Point(
            tuple(float(weight) for weight in whole.round(DECIMALS) + 0.0),
            {
                name: each.rounded(each.low + (each.high - each.low) * float(share))
                for (name, each), share in zip(self.ranges.items(), coordinates[self.experts :], strict=True)
            },
        )

    @cached_property
    def _parameters_at_start(self) -> Float64:
        return np.array([(each.start - each.low) / (each.high - each.low) for each in self.ranges.values()])
