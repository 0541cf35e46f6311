"""A seeded draw, the same on every machine."""

from __future__ import annotations

import random


def drawn(count: int, most: int, seed: int) -> list[int]:
    """Places of what is drawn, in order; all where there are no more than that.

    >>> drawn(3, 5, seed=0), len(drawn(100, 5, seed=0))
    ([0, 1, 2], 5)

    Args:
        count: How many there are.
        most: How many are drawn at most.
        seed: Of the draw.
    """
    return sorted(random.Random(seed).sample(range(count), max(0, min(most, count))))
