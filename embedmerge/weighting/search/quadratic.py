"""Search by quadratic fits of both sides (MAP)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from embedmerge.errors import EmbedmergeError
from embedmerge.weighting.search.searched import Searched

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from embedmerge.weighting.search.exploring import Optimiser
    from embedmerge.weighting.search.marks import Marks
    from embedmerge.weighting.search.space import Space
    from embedmerge.weighting.strategy import MethodChoice

    Float64 = NDArray[np.float64]

RIDGE = 1e-6  # on every coefficient but the constant, relative to the mean square of its column
SAMPLES_PER_TERM = 1.5
SAMPLED = 2 / 3  # of the trials, the others going to what the fit promises
TOGETHER = 4  # points of promise that are looked at before the next fit
DENSE = 20_000  # points at which a fitted surface is looked at
NEAR = ((200, 0.05), (200, 0.02))  # best points, and the step around them, where it is looked at again
APART = 0.01  # distance below which two points are the same


class Quadratics(Searched):
    """Search by quadratic fits of both sides: model merging with amortised Pareto fronts (MAP).

    Li et al. 2024 (arXiv 2406.07529) sample coefficients, evaluate them, and fit each metric by

        M(c) = e + bᵀc + ½ cᵀAc,

    which has (d + 1)(d + 2) / 2 terms for d coordinates: here the experts' weights and what is in `space`.
    The fit is linear least squares with a small ridge, of the target's mean and of the margin above the
    floor, as they are. The best target above the floor is looked for on the fitted surfaces, within the box
    of the samples; a few such points are really merged and encoded, the fits are made anew with them, and so
    on. What is chosen is the best of what was really encoded.
    """

    strategy: Literal["map"] = "map"
    evaluation: Literal["true"] = "true"

    def require_consistent(self, names: Sequence[str], method: MethodChoice | None = None) -> None:
        """As for every search; and the trials are enough for a fit."""
        super().require_consistent(names, method)
        dimensions = len(names) - 1 + len(self.space)
        needed = samples_for(dimensions) + 1
        if self.trials < needed:
            msg = (
                f"strategy map: a quadratic of {dimensions} numbers wants at least {needed} trials, "
                f"not {self.trials}"
            )
            raise EmbedmergeError(msg)

    def optimiser(self, space: Space, known: Float64, marks: Marks) -> Optimiser:
        """Sampling and fitting on this space."""
        return Fits(space, known, marks, self.trials, self.seed)


def samples_for(dimensions: int) -> int:
    """Fewest samples for a quadratic.

    >>> [samples_for(dimensions) for dimensions in (1, 2, 3, 4)]
    [5, 9, 15, 23]
    """
    return math.ceil(SAMPLES_PER_TERM * (dimensions + 1) * (dimensions + 2) / 2)


class Fits:
    """Samples the space, then asks for what quadratic fits promise.

    Args:
        space: Where it looks.
        known: Samples that were looked at before: base, centre and corners; shape (points, dimensions).
        marks: Of these.
        trials: How many points there will be in all.
        seed: Of every draw.
    """

    def __init__(self, space: Space, known: Float64, marks: Marks, trials: int, seed: int = 0) -> None:
        self._space = space
        self._known = known
        self._marks = marks
        self._generator = np.random.default_rng(seed)
        self._samples = max(samples_for(space.dimensions), int(SAMPLED * trials))

    def ask(self) -> Float64:
        """What samples are missing, then points of promise."""
        missing = self._samples - len(self._known)
        return self._space.drawn(missing, self._generator) if missing > 0 else self._promising()

    def tell(self, asked: Float64, marks: Marks) -> None:
        """Take them into the next fit."""
        self._known = np.vstack([self._known, asked])
        self._marks = self._marks.joined(marks)

    def _promising(self) -> Float64:
        """Points with the best fitted target above the fitted floor, not yet looked at."""
        target = Quadratic.fitted(self._known, self._marks.target)
        margin = Quadratic.fitted(self._known, self._marks.margin)
        low, high = self._known.min(axis=0), self._known.max(axis=0)
        points = self._space.drawn(DENSE, self._generator)
        for number, step in NEAR:
            best = points[_promise(target(points), margin(points))[:number]]
            moved = np.repeat(best, 10, axis=0)
            moved = np.clip(moved + self._generator.normal(scale=step, size=moved.shape), low, high)
            points = np.vstack([points, self._space.repaired(moved)])
        points = points[((points >= low - 1e-9) & (points <= high + 1e-9)).all(axis=1)]
        return _apart(points[_promise(target(points), margin(points))], self._known)


@dataclass(frozen=True)
class Quadratic:
    """A quadratic function of several numbers.

    Attributes:
        coefficients: Of the constant, the numbers, and their products two by two, shape (terms,).
    """

    coefficients: Float64

    @classmethod
    def fitted(cls, points: Float64, values: Float64) -> Quadratic:
        """By least squares with a small ridge, so that samples in special positions do no harm.

        >>> points = np.linspace(0, 1, 6)[:, None]
        >>> Quadratic.fitted(points, 1 + points[:, 0] ** 2).coefficients.round(3)
        array([1., 0., 1.])

        Args:
            points: Shape (points, dimensions).
            values: Shape (points,).
        """
        terms = _terms(points)
        # Adding rows of √ridge with the value 0 is the ridge; the constant goes free.
        ridge = np.diag(np.sqrt(RIDGE * (terms**2).sum(axis=0)))[1:]
        augmented = np.vstack([terms, ridge])
        wanted = np.concatenate([values, np.zeros(len(ridge))])
        return cls(np.linalg.lstsq(augmented, wanted, rcond=None)[0])

    def __call__(self, points: Float64) -> Float64:
        """Values at points of shape (points, dimensions)."""
        values: Float64 = _terms(points) @ self.coefficients
        return values


def _terms(points: Float64) -> Float64:
    """The constant, the numbers, and their products two by two, shape (points, terms)."""
    first, second = np.triu_indices(points.shape[1])
    return np.column_stack([np.ones(len(points)), points, points[:, first] * points[:, second]])


def _promise(target: Float64, margin: Float64) -> NDArray[np.int64]:
    """Places by promise: the best target above the floor first, then the least below the floor."""
    above = margin >= 0
    return np.lexsort((np.where(above, target, margin), above))[::-1]


def _apart(points: Float64, known: Float64) -> Float64:
    """The first few points that are none of the known ones, nor one another."""
    nearest = np.min([np.abs(points - each).max(axis=1) for each in known], axis=0)
    kept: list[Float64] = []
    while len(kept) < TOGETHER and (nearest >= APART).any():
        kept.append(points[(nearest >= APART).argmax()])
        nearest = np.minimum(nearest, np.abs(points - kept[-1]).max(axis=1))
    return np.array(kept)
