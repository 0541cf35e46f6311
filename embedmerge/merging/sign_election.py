"""The electing half of TIES, which several methods end with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from embedmerge.merging.part import Part

    Float32 = NDArray[np.float32]


def agreeing_merge(
    task_vectors: Sequence[Float32], part: Part, *, agg: str = "mean", emphasis: Sequence[float] | None = None
) -> Float32:
    """Average, or add, the elements that have the elected sign (arXiv 2306.01708, eq. 2 and 3).

    The elected sign is that of the weighted sum; an element of 0 agrees with none. Where the sum is 0,
    as where two changes cancel, none is elected and the merged element is 0. (The authors' code gives
    such an element the sign that most elements of the model have, mergekit gives it the positive one.)

    Args:
        task_vectors: As trimmed or dropped, one per expert, of the part's shape.
        part: Gives the shares (for the mean) or the factors (for the sum) of the experts.
        agg: `mean` divides by the shares that agree, `sum` does not.
        emphasis: What else each expert counts for once the sign is elected, at least 0; 1 where None.
    """
    weights = part.shares if agg == "mean" else part.factors
    votes = [np.float32(weight) * tau for weight, tau in zip(weights, task_vectors, strict=True)]
    ballot = sum(votes[1:], start=votes[0])
    upward, downward = ballot > 0, ballot < 0
    total = np.zeros_like(ballot)
    agreed = np.zeros_like(ballot)
    for vote, weight, factor in zip(votes, weights, emphasis or [1.0] * len(votes), strict=True):
        agrees = ((vote > 0) & upward) | ((vote < 0) & downward)
        total += (vote if factor == 1 else np.float32(factor) * vote) * agrees
        agreed += np.float32(factor * abs(weight)) * agrees
    if agg == "mean":
        total /= np.maximum(agreed, np.finfo(np.float32).tiny)
    return total
