"""Where in the simplex of weights a mixture lies, and by which encoded models it is approximated."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    Float64 = NDArray[np.float64]

Edge = tuple[int, int]


@dataclass(frozen=True)
class Mesh:
    """The simplex of the sources, cut into smaller ones at every mixture that was encoded.

    In each small simplex a function of the weights, known at its corners and at the midpoints of some of
    its edges, is approximated by Scheffé's quadratic form (Scheffé 1958): with barycentric coordinates `t`
    in that simplex, corners `u` and edges `uv`,

        f(t) = Σ_u t_u f_u + Σ_uv 4 t_u t_v (f_uv - (f_u + f_v) / 2),

    which is exact at every corner and known midpoint, and everywhere for a quadratic `f`. An edge without
    a midpoint counts as straight.

    Attributes:
        corners: Weights of every encoded mixture, shape (corners, sources); the sources come first.
        simplices: Corners of each small simplex, as many as there are sources.
        curved: Edges whose midpoint is known.
    """

    corners: Float64
    simplices: tuple[tuple[int, ...], ...]
    curved: tuple[Edge, ...] = ()

    @classmethod
    def of(cls, sources: int) -> Mesh:
        """The whole simplex, all edges straight.

        >>> Mesh.of(3).edges
        [(0, 1), (0, 2), (1, 2)]
        """
        return cls(np.eye(sources), (tuple(range(sources)),))

    @property
    def edges(self) -> list[Edge]:
        """Edges of all simplices."""
        return sorted({edge for simplex in self.simplices for edge in combinations(sorted(simplex), 2)})

    def middle(self, edge: Edge) -> Float64:
        """Weights at an edge's midpoint, shape (sources,)."""
        middle: Float64 = self.corners[list(edge)].mean(axis=0)
        return middle

    def with_midpoints(self, edges: Iterable[Edge]) -> Mesh:
        """The same with further edges curved."""
        return replace(self, curved=(*self.curved, *edges))

    def split_at(self, weights: Float64) -> Mesh:
        """The mesh with a further corner, from which every simplex around it is cut anew.

        Args:
            weights: Shape (sources,), not a corner yet.
        """
        new = len(self.corners)
        cut = []
        for simplex in self.simplices:
            coordinates = self._coordinates(simplex, weights[None])[0]
            if coordinates.min() < -1e-9:
                cut.append(simplex)
                continue
            # Leaving out a corner the point has no share of would give a simplex without volume.
            parts = [place for place, share in enumerate(coordinates) if share > 1e-9]
            cut += [(*simplex[:place], new, *simplex[place + 1 :]) for place in parts]
        return replace(self, corners=np.vstack([self.corners, weights]), simplices=tuple(cut))

    def features(self, weights: Float64) -> Float64:
        """What every corner and every curved edge counts for.

        Args:
            weights: Shape (mixtures, sources), each row with sum 1. A mixture outside the simplex is
                extrapolated from the nearest small one.

        Returns:
            Shape (mixtures, corners + curved edges).
        """
        all_coordinates = np.stack([self._coordinates(simplex, weights) for simplex in self.simplices])
        inside = all_coordinates.min(axis=2).argmax(axis=0)
        features = np.zeros((len(weights), len(self.corners) + len(self.curved)))
        for place, simplex in enumerate(self.simplices):
            rows = np.flatnonzero(inside == place)
            features[rows[:, None], list(simplex)] = all_coordinates[place, rows]
            for column, (first, second) in self._own_curves(simplex):
                both = features[rows, first] * features[rows, second]
                features[rows, column] = 4 * both
        return features

    def slopes(self, weights: Float64) -> Float64:
        """Derivatives of the features by the weights.

        Args:
            weights: Shape (sources,).

        Returns:
            Shape (corners + curved edges, sources).
        """
        every = [self._coordinates(simplex, weights[None])[0] for simplex in self.simplices]
        place = int(np.argmax([coordinates.min() for coordinates in every]))
        simplex, coordinates = self.simplices[place], every[place]
        slopes = np.zeros((len(self.corners) + len(self.curved), len(weights)))
        slopes[list(simplex)] = np.linalg.inv(self.corners[list(simplex)]).T
        share = dict(zip(simplex, coordinates, strict=True))
        for column, (first, second) in self._own_curves(simplex):
            slopes[column] = 4 * (share[first] * slopes[second] + share[second] * slopes[first])
        return slopes

    def _coordinates(self, simplex: tuple[int, ...], weights: Float64) -> Float64:
        coordinates = np.linalg.solve(self.corners[list(simplex)].T, weights.T).T
        return coordinates.astype(np.float64, copy=False)

    def _own_curves(self, simplex: tuple[int, ...]) -> list[tuple[int, Edge]]:
        """Columns of the curved edges in one simplex."""
        first = len(self.corners)
        return [(first + place, edge) for place, edge in enumerate(self.curved) if set(edge) <= set(simplex)]
