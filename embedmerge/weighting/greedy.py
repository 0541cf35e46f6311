"""A soup of sources, one ladle at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from embedmerge.errors import EmbedmergeError
from embedmerge.weighting.averaging import Averaging
from embedmerge.weighting.decimals import in_decimals
from embedmerge.weighting.paired import Gain

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from embedmerge.weighting.guarded import Judge

    Float64 = NDArray[np.float64]


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
        """The mean of the ingredients."""
        return in_decimals(_mean(judge, self.ingredients(judge)))

    def ingredients(self, judge: Judge) -> list[int]:
        """Places of the sources that come in, in their order, each as often as it does.

        Raises:
            EmbedmergeError: No source is above the floor.
        """
        order, soup = self._start(judge)
        before = 0
        while before < len(soup):
            before = len(soup)
            for place in order:
                if len(soup) < self.most and self._improves(judge, soup, place):
                    soup = [*soup, place]
        return soup

    def _start(self, judge: Judge) -> tuple[list[int], list[int]]:
        """The live sources from best to worst, and the best one above the floor."""
        quality = judge.quality(judge.within(np.eye(len(judge.live))))
        above = judge.above_floor(quality)
        if not above.any():
            raise EmbedmergeError("guard: no source is above the floor, not even the base; check the guard")
        order = np.argsort(-quality.target.means.round(9), kind="stable")
        live = np.array(judge.live)
        return live[order].tolist(), live[order][above[order]][:1].tolist()

    def _improves(self, judge: Judge, soup: list[int], place: int) -> bool:
        """Whether one more ingredient gains enough and keeps the soup above the floor."""
        quality = judge.quality(np.stack([_mean(judge, soup), _mean(judge, [*soup, place])]))
        better = Gain.on_the_first(quality.target).exceeds(self.margin)
        return bool(better[0] and judge.above_floor(quality)[1])


def _mean(judge: Judge, ingredients: list[int]) -> Float64:
    """Weights of the mean of some sources, shape (sources,)."""
    mean: Float64 = np.bincount(ingredients, minlength=len(judge.landscape.names)) / len(ingredients)
    return mean
