"""Points in the simplex of weights."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float64 = NDArray[np.float64]

STEPS = {2: 200, 3: 50, 4: 20}  # of the grid between 0 and 1, by the number of sources
DRAWN = 1000


def spread(sources: int, bounds: tuple[float, float] = (0.0, 1.0), seed: int = 0) -> Float64:
    """Points all over the simplex: a grid for up to four sources, else its edges from the base and draws.

    >>> len(spread(3)), spread(2)[:2]
    (1326, array([[1.   , 0.   ], [0.995, 0.005]]))

    Args:
        sources: Number of sources, base first.
        bounds: Lowest and highest weight of any source.
        seed: Of the draws.

    Returns:
        Shape (points, sources), rows with sum 1; the corners are among them.
    """
    points = _grid(sources, bounds) if sources in STEPS else _draws(sources, bounds, seed)
    return np.unique(points.round(9) + 0.0, axis=0)[::-1]


def around(points: Float64, bounds: tuple[float, float], step: float, number: int, seed: int) -> Float64:
    """Draws in the neighbourhood of some points.

    Args:
        points: Shape (points, sources).
        bounds: Lowest and highest weight of any source.
        step: Standard deviation of a weight.
        number: How many.
        seed: Of the draws.

    Returns:
        Shape (number or fewer, sources), rows with sum 1.
    """
    generator = np.random.default_rng(seed)
    started = points[generator.integers(len(points), size=number)]
    steps = generator.normal(scale=step, size=started.shape)
    # A weight of 0 stays 0 half of the time: most peers have nothing to give to a given target.
    steps[(started <= bounds[0]) & (generator.random(started.shape) < 0.5)] = 0
    moved = np.clip(started + steps, *bounds)
    moved /= moved.sum(axis=1, keepdims=True)
    return _within(moved, bounds)


def _grid(sources: int, bounds: tuple[float, float]) -> Float64:
    steps = STEPS[sources]
    ticks = np.arange(round(bounds[0] * steps), round(bounds[1] * steps) + 1) / steps
    experts = np.array(list(product(ticks, repeat=sources - 1)))
    return _within(np.column_stack([1 - experts.sum(axis=1), experts]), bounds)


def _draws(sources: int, bounds: tuple[float, float], seed: int) -> Float64:
    generator = np.random.default_rng(seed)
    corners = np.eye(sources)
    shares = np.linspace(0, 1, 41)[:, None]
    ends = [*corners[1:], np.full(sources, 1 / sources)]
    lines = [(1 - shares) * corners[0] + shares * end for end in ends]
    few = generator.dirichlet(np.full(sources, 0.3), DRAWN)
    many = generator.dirichlet(np.ones(sources), DRAWN)
    clouds = [few, many]
    if bounds[0] < 0:  # a cloud over the larger simplex whose faces are where a weight is lowest
        larger = generator.dirichlet(np.ones(sources), DRAWN)
        clouds.append(bounds[0] + (1 - sources * bounds[0]) * larger)
    return _within(np.vstack([corners, *lines, *clouds]), bounds)


def _within(points: Float64, bounds: tuple[float, float]) -> Float64:
    inside = (points >= bounds[0] - 1e-9) & (points <= bounds[1] + 1e-9)
    return points[inside.all(axis=1)]


def undominated(first: Float64, second: Float64) -> NDArray[np.int64]:
    """Places of points that no other beats on one side without losing on the other, best first side first.

    >>> undominated(np.array([1.0, 2.0, 3.0]), np.array([5.0, 6.0, 1.0]))
    array([2, 1])
    """
    order = np.lexsort((-second, -first))
    best = np.maximum.accumulate(second[order])
    kept = np.concatenate([[True], second[order][1:] > best[:-1]])
    places: NDArray[np.int64] = order[kept]
    return places
