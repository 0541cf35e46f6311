"""A soup of sources, one ladle at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from embedmerge.errors import EmbedmergeError
from embedmerge.weighting.averaging import Averaging, in_decimals
from embedmerge.weighting.paired import Gain

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from embedmerge.weighting.guarded import Judge

    Float64 = NDArray[np.float64]
    Counts = NDArray[np.int64]


class Greedy(Averaging):
    """Greedy soup (Wortsman et al. 2022, arXiv 2203.05482, recipe 1) with a margin and a floor.

    The soup starts from the best single source that is above the general floor. The sources are then tried
    from best to worst, each stirred into the running mean of `k` ingredients,

        S <- (k S + e_j) / (k + 1),

    and kept if the soup is above the floor and its target gains more than `margin` standard errors of the
    paired difference. Unlike the paper's soup, this one goes round again until nothing is added, so a source
    may come in several times and weigh more.

    The paper keeps an ingredient whenever the held-out score does not fall. On thousands of held-out images
    that is sound; on a few dozen queries it is not: what a useless source adds is noise about 0, so it passes
    every second time, and the best of many such trials looks like a gain on exactly the queries it was tried
    on. At one standard error a useless source passes one time in six, at two one time in forty. A margin of 0
    is the strict comparison.

    Attributes:
        margin: Standard errors of the paired difference that an ingredient has to gain.
        most: Ingredients at most, each counted as often as it was added.
    """

    strategy: Literal["greedy"] = "greedy"
    margin: float = Field(default=1.0, ge=0)
    most: int = Field(default=10, ge=1)

    def pick(self, judge: Judge) -> Float64:
        """Start from the best source above the floor, and add what helps."""
        order, counts = self._start(judge)
        added = True
        while added:
            before = counts.sum()
            for place in order:
                counts = self._stirred(judge, counts, place)
            added = counts.sum() > before
        return in_decimals(_mean(judge, counts))

    def _start(self, judge: Judge) -> tuple[list[int], Counts]:
        """The live sources from best to worst, and a soup of the best one above the floor."""
        quality = judge.quality(judge.within(np.eye(len(judge.live))))
        order = np.argsort(-quality.target.means.round(9), kind="stable").tolist()
        above = judge.above_floor(quality)
        first = next((place for place in order if above[place]), None)
        if first is None:
            raise EmbedmergeError("guard: no source is above the floor, not even the base; check the guard")
        counts = np.zeros(len(order), dtype=np.int64)
        counts[first] = 1
        return order, counts

    def _stirred(self, judge: Judge, counts: Counts, place: int) -> Counts:
        """The soup with one more ingredient if that is worth it, else as it was."""
        if counts.sum() == self.most:
            return counts
        more = counts.copy()
        more[place] += 1
        quality = judge.quality(np.stack([_mean(judge, counts), _mean(judge, more)]))
        better = Gain.on_the_first(quality.target).exceeds(self.margin)[0]
        return more if better and judge.above_floor(quality)[1] else counts


def _mean(judge: Judge, counts: Counts) -> Float64:
    """Weights of the mean of some ingredients, shape (sources,)."""
    mean: Float64 = judge.within((counts / counts.sum())[None])[0]
    return mean
