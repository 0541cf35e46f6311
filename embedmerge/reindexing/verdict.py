"""What the numbers say: stay, turn, encode again, or ask more queries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from embedmerge.evaluation.significance import Difference

Verdict = Literal["stay", "rotate", "re-encode", "unsure"]


def verdict(staying: Difference | None, rotated: Difference, margin: float) -> Verdict:
    """Decide by non-inferiority: the whole interval has to lie above minus the margin.

    >>> from embedmerge.evaluation.significance import Difference
    >>> verdict(Difference(-0.1, -0.3, 0.1), Difference(0.0, -0.1, 0.1), margin=0.5)
    'stay'
    >>> verdict(Difference(-9.0, -11, -8), Difference(-0.2, -0.4, 0.1), margin=0.5)
    'rotate'

    Args:
        staying: What the new model loses in the old index to an index encoded again; None where the
            dimensions differ.
        rotated: What it loses in the old index, rotated.
        margin: Points of nDCG@10 that may be lost.
    """
    if staying is not None and staying.low >= -margin:
        return "stay"
    if rotated.low >= -margin:
        return "rotate"
    if (staying is None or staying.high < -margin) and rotated.high < -margin:
        return "re-encode"
    return "unsure"
