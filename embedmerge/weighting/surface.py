"""What a choice expects of any mixture of its sources, on a lattice that a reader can move over."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import combinations_with_replacement
from math import comb
from typing import TYPE_CHECKING

import numpy as np

from embedmerge.weighting.simplex import STEPS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    Float64 = NDArray[np.float64]
    Look = Callable[[Float64], tuple[Float64, Float64, Float64]]

MOST = max(STEPS)
DIGITS = 5
LOST = "it no longer retrieves"
LIGHT = f"the {MOST} sources that count for most can be moved"


@dataclass(frozen=True)
class Prediction:
    """What is expected of a mixture.

    Attributes:
        target: Mean on the target.
        general: Mean on the general side.
        margin: How far it is above the floor, below 0 where it is under it.
    """

    target: float
    general: float
    margin: float


@dataclass(frozen=True)
class Surface:
    """Predictions at the points of a lattice on the simplex of weights.

    With `n` sources and `N` steps a point has weights that are multiples of `1/N`. It is written as
    `y_k = N * (w_k + ... + w_(n-1))` for `k = 1, ..., n - 1`, whole numbers that do not grow from one to the
    next. Points are in the lexicographic order of `y`, so the place of one is, in the combinatorial number
    system, `sum_k C(y_k + n - 1 - k, n - k)`.

    Attributes:
        names: Sources that the lattice spans, base first.
        steps: Steps between a weight of 0 and of 1.
        target: Mean on the target at each point, in what the report shows.
        general: Mean on the general side likewise; a divergence is negated.
        margins: How far each point is above the floor.
        chosen: Of the chosen mixture, between the points unless it lies off the lattice.
        left_out: Sources that the lattice does not span -> why; they count for nothing on it.
    """

    names: tuple[str, ...]
    steps: int
    target: tuple[float, ...]
    general: tuple[float, ...]
    margins: tuple[float, ...]
    chosen: Prediction
    left_out: dict[str, str]

    def at(self, weights: Sequence[float]) -> Prediction:
        """Interpolate in the small simplex of the lattice that weights lie in.

        The lattice is cut by Freudenthal's triangulation (Freudenthal 1942, Annals of Mathematics 43), which
        finds the corners of the small simplex by sorting the fractions of `y`.

        >>> line = Surface(("a", "b"), 2, (0, 4, 6), (0, 0, 0), (1, 1, 1), Prediction(0, 0, 1), {})
        >>> line.at([0.5, 0.5]).target, line.at([0.25, 0.75]).target
        (4.0, 5.0)

        Args:
            weights: Of the sources it spans, with sum 1.
        """
        corners, shares = _around(np.asarray(weights, dtype=np.float64), self.steps)
        places = [_place(corner) for corner in corners]
        sides = np.array([self.target, self.general, self.margins])[:, places] @ shares
        return Prediction(*sides.tolist())


def surface(names: Sequence[str], chosen: Float64, lost: Sequence[int], look: Look) -> Surface | None:
    """Look at a lattice over the sources that matter most: the base, and the heaviest in the choice.

    It is the grid that choices among few sources are made on, so that what they found lies on it.

    Args:
        names: Of all sources, base first.
        chosen: Weights of the choice, shape (sources,).
        lost: Places of sources that no longer retrieve.
        look: Gives target, general side and margin of mixtures, each of shape (mixtures,), from weights of
            shape (mixtures, sources).

    Returns:
        The surface; None where there is no other source than the base, or where the choice has a negative
        weight, so that it lies beyond every lattice between the sources.
    """
    spanned = _spanned(chosen, lost)
    if len(spanned) < 2 or chosen.min() < 0:
        return None
    steps = STEPS[len(spanned)]
    points = np.zeros((comb(steps + len(spanned) - 1, steps), len(names)))
    points[:, spanned] = lattice(len(spanned), steps)
    target, general, margins = (_kept(side) for side in look(points))
    off = chosen.sum() - chosen[spanned].sum() > 1e-9
    true = Prediction(*(_kept(side)[0] for side in look(chosen[None])))
    found = Surface(
        tuple(names[place] for place in spanned),
        steps,
        target,
        general,
        margins,
        true,
        {name: LOST if place in lost else LIGHT for place, name in enumerate(names) if place not in spanned},
    )
    return found if off else _with_chosen(found, chosen[spanned])


def lattice(sources: int, steps: int) -> Float64:
    """Weights of all points, in the order of `Surface`.

    >>> lattice(3, 1)
    array([[1., 0., 0.],
           [0., 1., 0.],
           [0., 0., 1.]])

    Args:
        sources: Number of sources.
        steps: Between 0 and 1.

    Returns:
        Shape (points, sources).
    """
    falling = sorted(each[::-1] for each in combinations_with_replacement(range(steps + 1), sources - 1))
    tails = np.column_stack([np.full(len(falling), steps), np.array(falling), np.zeros(len(falling))])
    weights: Float64 = -np.diff(tails, axis=1) / steps + 0.0
    return weights


def _spanned(chosen: Float64, lost: Sequence[int]) -> list[int]:
    """Places of the sources that the lattice is made over."""
    experts = [place for place in range(1, len(chosen)) if place not in lost]
    heaviest = sorted(experts, key=lambda place: -chosen[place])[: MOST - 1]
    return [0, *sorted(heaviest)]


def _around(weights: Float64, steps: int) -> tuple[list[tuple[int, ...]], Float64]:
    """Corners of the small simplex around a point, as `y`, and what each counts for."""
    tails = np.cumsum(weights[::-1])[::-1][1:] / weights.sum() * steps
    tails = np.minimum(tails.round(9), steps)
    corner = np.floor(tails).astype(int)
    fractions = tails - corner
    order = np.argsort(-fractions, kind="stable")
    corners = [tuple(corner.tolist())]
    for place in order:
        corner[place] += 1
        corners.append(tuple(corner.tolist()))
    edges = np.concatenate([[1.0], fractions[order], [0.0]])
    shares = -np.diff(edges)
    inside = shares > 0
    return [each for each, kept in zip(corners, inside, strict=True) if kept], shares[inside]


def _place(corner: tuple[int, ...]) -> int:
    last = len(corner)
    return sum(comb(value + last - 1 - at, last - at) for at, value in enumerate(corner))


def _kept(values: Float64) -> tuple[float, ...]:
    return tuple((values.round(DIGITS) + 0.0).tolist())


def _with_chosen(found: Surface, chosen: Float64) -> Surface:
    """The same, its chosen mixture predicted as its neighbours are, so that differences to it begin at 0."""
    at = found.at(chosen.tolist())
    rounded = Prediction(*(round(value, DIGITS) for value in (at.target, at.general, at.margin)))
    return replace(found, chosen=rounded)
