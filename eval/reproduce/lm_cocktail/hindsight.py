"""Whether any weights at all are ahead of half and half: known only afterwards, and no choice."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from outcomes import Outcome, Scores, verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from testing import Tests

    Float64 = NDArray[np.float64]

# The way from the base to the merge of all experts that is gone first, and then from there to the fine-tune.
SHARES = np.round(np.linspace(0, 1, 21), 3)
SHOWN = (0.0, 0.1, 0.25, 0.5, 1.0)
HALF = int(np.flatnonzero(SHARES == 0.5)[0])


def triangle(tests: Tests, pool: str, target: str) -> list[list[list[float]]]:
    """Scores of the mixtures of base, merge and fine-tune, shape (shares, shares, sets)."""
    points = [
        {"base": (1 - first) * (1 - then), pool: first * (1 - then), target: then}
        for first in SHARES.tolist()
        for then in SHARES.tolist()
    ]
    found: list[list[list[float]]] = tests.scores(points).reshape(len(SHARES), len(SHARES), -1).tolist()
    return found


def hindsight_table(scores: Scores) -> str:
    """On how many targets the same weights for all, or the best for each, are ahead of half and half."""
    outcomes = [_outcomes(scores, target) for target in scores.targets]
    ahead = np.array([_ahead(own) for own in outcomes])  # targets, shares, shares
    lines = [
        "| first so far to the merge | then the same share to the fine-tune for all: ahead on, at most "
        "| at | target, to half and half | others, to the base | each its own share: ahead on |",
        "|---" * 6 + "|",
    ]
    halves = [own[0][HALF] for own in outcomes]
    for first in SHOWN:
        place = int(np.flatnonzero(first == SHARES)[0])
        best = int(ahead[:, place].sum(axis=0).argmax())
        points = [own[place][best] for own in outcomes]
        lines.append(
            f"| {first:g} | {ahead[:, place, best].sum()} of {len(outcomes)} | {SHARES[best]:g} "
            f"| {np.mean([p.target - h.target for p, h in zip(points, halves, strict=True)]):+.2f} "
            f"| {np.mean([p.forgetting for p in points]):+.2f} "
            f"| {ahead[:, place].any(axis=1).sum()} of {len(outcomes)} |"
        )
    most, own_most = ahead.sum(axis=0).max(), ahead.any(axis=(1, 2)).sum()
    lines.append(f"| any | {most} of {len(outcomes)} | | | | {own_most} of {len(outcomes)} |")
    return "\n".join(lines)


def _outcomes(scores: Scores, target: str) -> list[list[Outcome]]:
    return [[scores.outcome(target, np.array(each)) for each in row] for row in scores.triangles[target]]


def _ahead(outcomes: Sequence[Sequence[Outcome]]) -> NDArray[np.bool_]:
    half = outcomes[0][HALF]
    return np.array([[verdict(each, half) == "ahead" for each in row] for row in outcomes])
