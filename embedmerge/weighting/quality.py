"""What mixtures are worth, query by query, on both sides of the trade-off."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class Side:
    """One side of the trade-off: values of mixtures, query by query.

    Attributes:
        values: Shape (mixtures, queries), higher being better.
        groups: Number of the ground each query belongs to, shape (queries,).
    """

    values: Float64
    groups: NDArray[np.int64]

    @property
    def means(self) -> Float64:
        """Mean over the grounds of the mean over each ground's queries, shape (mixtures,)."""
        return grouped_means(self.values, self.groups)

    @property
    def by_ground(self) -> Float64:
        """Mean over each ground's queries, shape (grounds, mixtures)."""
        return group_means(self.values, self.groups)

    def of_rows(self, rows: NDArray[np.int64]) -> Side:
        """Some of the queries."""
        return Side(self.values[:, rows], self.groups[rows])


def grouped_means(values: Float64, groups: NDArray[np.int64]) -> Float64:
    """Means over the groups of the means within each.

    >>> grouped_means(np.array([[1.0, 3.0, 10.0]]), np.array([0, 0, 1]))
    array([6.])
    """
    means: Float64 = group_means(values, groups).mean(axis=0)
    return means


def group_means(values: Float64, groups: NDArray[np.int64]) -> Float64:
    """Means within each group.

    Args:
        values: Shape (mixtures, queries).
        groups: Group of each query, shape (queries,).

    Returns:
        Shape (groups, mixtures).
    """
    return np.stack([values[:, groups == group].mean(axis=1) for group in np.unique(groups)])


@dataclass(frozen=True)
class Quality:
    """Both sides of some mixtures."""

    target: Side
    general: Side

    def of_rows(self, target: NDArray[np.int64], general: NDArray[np.int64]) -> Quality:
        """The same on some of the queries."""
        return Quality(self.target.of_rows(target), self.general.of_rows(general))

    @classmethod
    def stacked(cls, qualities: Sequence[Quality]) -> Quality:
        """Qualities on the same queries as one, the mixtures in order."""
        sides = ([each.target for each in qualities], [each.general for each in qualities])
        target, general = (
            Side(np.concatenate([side.values for side in own]), own[0].groups) for own in sides
        )
        return cls(target, general)

    def of_mixture(self, place: int) -> Quality:
        """One of the mixtures alone."""
        target, general = (
            Side(side.values[place : place + 1], side.groups) for side in (self.target, self.general)
        )
        return Quality(target, general)
