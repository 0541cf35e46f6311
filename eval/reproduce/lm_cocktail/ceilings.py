"""What weights could give at best on the test sets: known only afterwards, and no choice."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from embedmerge.weighting.simplex import around, spread

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    Float64 = NDArray[np.float64]

LOSSES = (0.0, 0.2, 0.5, 1.0, 2.0)  # points that the others may be below the base
ROUNDS = ((0.1, 500), (0.05, 500), (0.02, 500))  # step and number of draws around the best so far
STARTS = 50


def best_of_pool(look: Callable[[Float64], Float64], sources: int, own: Sequence[int]) -> list[list[float]]:
    """The best target score of any mixture found, for each target and each loss on the others.

    Args:
        look: Scores of mixtures, shape (mixtures, sets), from weights, shape (mixtures, sources).
        sources: Number of sources, base first.
        own: Place of each target among the sets.
    """
    weights = spread(sources)
    scores = look(weights)
    for turn, (step, number) in enumerate(ROUNDS):
        starts = np.unique(np.concatenate([_best(scores, place, loss) for place in own for loss in LOSSES]))
        drawn = around(weights[starts], (0.0, 1.0), step, number * len(own), turn)
        weights, scores = np.vstack([weights, drawn]), np.vstack([scores, look(drawn)])
    return [[float(scores[_best(scores, place, loss)[0], place]) for loss in LOSSES] for place in own]


def _best(scores: Float64, place: int, loss: float) -> NDArray[np.int64]:
    """Places of the mixtures with the best target whose others are not below the base by more than that."""
    others = np.delete(scores, place, axis=1).mean(axis=1)
    allowed = np.flatnonzero(others >= others[0] - loss - 1e-9)
    best: NDArray[np.int64] = allowed[np.argsort(-scores[allowed, place])][:STARTS]
    return best
