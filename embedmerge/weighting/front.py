"""The trade-off between target and general quality, and the best target above a general floor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from embedmerge.weighting.guarded import Guarded
from embedmerge.weighting.simplex import around, undominated

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from embedmerge.weighting.guarded import Judge

    Float64 = NDArray[np.float64]

ROUNDS = ((0.1, 500), (0.05, 500), (0.02, 500))  # step and number of draws around the front
NEAREST = 200  # points of a front that draws start from


class Front(Guarded):
    """Weights of the best target quality among all mixtures that keep general quality above a floor."""

    strategy: Literal["front"] = "front"

    def points(self, judge: Judge) -> Float64:
        """Mixtures all over the simplex; where it is too wide for a grid, again around the front.

        Returns:
            Shape (points, sources).
        """
        points = super().points(judge)
        if len(judge.live) <= 4:
            return points
        for turn, (step, number) in enumerate(ROUNDS):
            quality = judge.quality(points)
            target, general = quality.target.means, quality.general.means
            above = judge.above_floor(quality)
            best = np.flatnonzero(above)[np.argsort(-target[above])][:NEAREST]
            starts = np.unique(np.concatenate([undominated(target, general)[:NEAREST], best]))
            drawn = around(points[starts][:, judge.live], self.bounds, step, number, self.seed + turn + 1)
            points = np.vstack([points, judge.within(drawn)])
        return points
