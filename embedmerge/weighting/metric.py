"""Each source weighs by its own quality on the examples."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from embedmerge.weighting.averaging import Averaging
from embedmerge.weighting.decimals import in_decimals

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from embedmerge.weighting.guarded import Judge

    Float64 = NDArray[np.float64]

NO_LOSS = 1e-6  # nats: what float32 cannot tell from none


class Metric(Averaging):
    """Metric-weighted averaging: weights proportional to a power of each source's own score.

    With the examples' nDCG@10 or recall@100 `s_i` of source `i` alone, or its InfoNCE loss `L_i`,

        w_i ∝ s_i ** exponent,    or    w_i ∝ (1 / L_i) ** exponent,

    over the sources that still retrieve. A mixture is never looked at, so this strategy does not know how
    sources go together, and it ignores the guard's floor; the account of the choice shows both sides all the
    same. The weights do not depend on an approximation either, so one true encode is enough to report them.

    Attributes:
        exponent: 0 for the uniform average; the higher, the more the best source gets.
        rounds: Mixtures that are really encoded at most.
    """

    strategy: Literal["metric"] = "metric"
    exponent: float = Field(default=1.0, ge=0, allow_inf_nan=False)
    rounds: int = Field(default=1, ge=1)

    def pick(self, judge: Judge) -> Float64:
        """Score every source alone, and weigh by the scores."""
        own = judge.quality(judge.within(np.eye(len(judge.live)))).target.means
        merits = 1 / np.maximum(-own, NO_LOSS) if judge.objective == "loss" else own
        return in_decimals(judge.within(powers(merits, self.exponent)[None])[0])


def powers(merits: Float64, exponent: float) -> Float64:
    """Shares proportional to a power of merits; equal shares where no source has any merit.

    >>> powers(np.array([10.0, 20.0]), 2.0)
    array([0.2, 0.8])

    Args:
        merits: Shape (sources,), none below 0.
        exponent: At least 0.

    Returns:
        Shape (sources,), with sum 1.
    """
    best = merits.max()
    relative = merits / best if best > 0 else np.ones_like(merits)
    raised = relative**exponent
    shares: Float64 = raised / raised.sum()
    return shares
