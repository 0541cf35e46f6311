"""Weights for large pools, one source at a time along the gradient."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from embedmerge.weighting.averaging import Averaging
from embedmerge.weighting.decimals import in_decimals
from embedmerge.weighting.paired import NOISE, Gain

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from embedmerge.weighting.guarded import Judge

    Float64 = NDArray[np.float64]

STEPS = (np.arange(1, 33) / 32) ** 2  # of the line search, finer where a step is short
PENALTIES = 8  # penalties of the general side that are tried
LEAST = 0.01  # weight below which an expert is left out whatever it adds


class FrankWolfe(Averaging):
    """Frank-Wolfe merging (FW-Merging, Chen et al. 2025, arXiv 2503.12649), for pools of five or more.

    The paper walks in the space of parameters and has to merge for every gradient; here mixtures are points
    of the simplex of weights, and the approximated embeddings give exact gradients there. With `T(w)` minus
    the InfoNCE loss on the examples and `G(w)` the guard's differentiable side, minus the divergence from the
    base on text and minus the InfoNCE loss on tasks, the walk climbs

        F(w) = T(w) + penalty * G(w)

    from the base. Each iteration turns to the source with the steepest directional derivative, which solves
    the linear problem over the simplex, and tries steps towards it in one batch: of the whole mixture, and of
    the one source in it with the worst derivative alone (pairwise steps, Lacoste-Julien and Jaggi 2015). The
    best step that stays above the floor is taken, so the walk never leaves the mixtures that are allowed. It
    ends when the Frank-Wolfe gap `max_v F'(w)·(v - w)` is small, which bounds what is still to be gained
    where `F` is concave.

    The penalty is the floor's Lagrange multiplier. It is 0 if the floor does not end the walk; else it is
    bisected between a penalty under which the floor does and one under which the walk ends by itself. The
    first try is the rate at which the step that the floor forbade would have exchanged general for target
    quality. Of all mixtures on the walks the best by the objective is chosen, and every expert that it does
    as well without is left out, so that irrelevant peers end at exactly 0.

    Attributes:
        iterations: Of each walk, at most.
        gap: Frank-Wolfe gap at which a walk ends, in nats.
        margin: Standard errors of the paired difference that leaving experts out may cost in all.
    """

    strategy: Literal["frank_wolfe"] = "frank_wolfe"
    iterations: int = Field(default=30, ge=1)
    gap: float = Field(default=1e-3, gt=0)
    margin: float = Field(default=1.0, ge=0)

    def pick(self, judge: Judge) -> Float64:
        """Walk, choose the best mixture on the way, and leave out what it does not need."""
        course = self.walked(judge)
        best = course.mixtures[judge.best(course.mixtures)]
        return self.pruned(judge, best, course.penalty)

    def walked(self, judge: Judge) -> Course:
        """Walk from the base under one penalty after another."""
        mixtures = [judge.within(np.eye(len(judge.live))[:1])[0]]
        penalty, low, high = 0.0, 0.0, np.inf
        for _ in range(PENALTIES):
            path, rate = self._walk(Hill(judge, penalty, judge.live), mixtures[-1])
            mixtures += path
            low, high = (penalty, high) if rate else (low, penalty)
            if high == 0:
                break
            penalty = (low + high) / 2 if np.isfinite(high) else max(rate, 2 * low)
        return Course(np.stack([in_decimals(weights) for weights in mixtures]), penalty)

    def _walk(self, hill: Hill, here: Float64) -> tuple[list[Float64], float]:
        """Mixtures on the way up, and at what rate the floor held the walk back in the end; 0 if not."""
        path: list[Float64] = []
        closed: dict[int, float] = {}  # sources towards which no step is possible from here
        for _ in range(self.iterations):
            slopes = hill.slopes(here)
            slope = hill.height(slopes)
            ahead = max(set(hill.sources) - set(closed), key=lambda place: slope[place], default=None)
            if ahead is None or slope[ahead] - slope @ here < self.gap:
                break
            behind = min(np.flatnonzero(here), key=lambda place: slope[place])
            step = hill.search(here, slopes, ahead, int(behind))
            if step.weights is None:
                closed[ahead] = step.rate
                continue
            here = step.weights
            path.append(here)
            closed.clear()
        return path, max(closed.values(), default=0.0)

    def pruned(self, judge: Judge, weights: Float64, penalty: float = 0.0) -> Float64:
        """A mixture without the experts it does as well without, shape (sources,).

        The lightest go first. Experts are first taken out with all else as it is, and then with the best
        weights for those that stay: near the floor even noise is of some use to a mixture made with it.

        Args:
            judge: Values mixtures.
            weights: Above the floor, shape (sources,).
            penalty: Under which the others are weighed anew.
        """
        whole = weights
        for lightened in (_without, partial(self._refitted, judge, penalty)):
            while (lighter := self._spared(judge, whole, weights, lightened)) is not None:
                weights = lighter
        return weights

    def _spared(
        self, judge: Judge, whole: Float64, weights: Float64, lightened: Callable[[Float64, int], Float64]
    ) -> Float64 | None:
        """The mixture without the lightest expert whose absence costs next to nothing, None if there is none.

        Args:
            judge: Values mixtures.
            whole: The mixture to compare with.
            weights: The mixture to take an expert from.
            lightened: Gives mixtures without one expert.
        """
        experts = [int(place) for place in np.flatnonzero(weights) if place]
        if not experts:
            return None
        options = [lightened(weights, place) for place in experts]
        left_out = np.repeat(weights[experts], [len(mixtures) for mixtures in options])
        lighter = np.concatenate(options)
        quality = judge.quality(np.vstack([whole, lighter]))
        gain = Gain.on_the_first(quality.target)
        spare = judge.above_floor(quality)[1:] & ((left_out < LEAST) | gain.within(self.margin))
        order = np.lexsort((-gain.means, left_out, ~spare))
        return lighter[order[0]] if spare.any() else None

    def _refitted(self, judge: Judge, penalty: float, weights: Float64, place: int) -> Float64:
        """Mixtures of the base and all experts but one, on the walk from where it is left out."""
        others = [0, *(int(other) for other in np.flatnonzero(weights) if other and other != place)]
        start = _without(weights, place)[-1]
        path, _ = self._walk(Hill(judge, penalty, others), start)
        return np.stack([in_decimals(mixture) for mixture in [start, *path]])


@dataclass(frozen=True)
class Course:
    """Where the walks led.

    Attributes:
        mixtures: Those they came through, the base first, shape (mixtures, sources); above the floor, as far
            as the decimals go that are kept.
        penalty: What the bisection has come to for the floor's multiplier.
    """

    mixtures: Float64
    penalty: float


@dataclass(frozen=True)
class Step:
    """What a line search found.

    Attributes:
        weights: Where the step leads, None if nowhere.
        rate: Target gained per general quality lost in the step that the floor took back; 0 if it did not.
    """

    weights: Float64 | None
    rate: float


@dataclass(frozen=True)
class Hill:
    """What a walk climbs.

    Attributes:
        judge: Values mixtures.
        penalty: What the general side counts for.
        sources: Places of those that steps lead towards.
    """

    judge: Judge
    penalty: float
    sources: list[int]

    def slopes(self, weights: Float64) -> Float64:
        """Derivatives of both sides by the weights, target first, shape (2, sources)."""
        return self.judge.slope(weights)[1]

    def height(self, sides: Float64) -> Float64:
        """Target and penalised general side together.

        Args:
            sides: Values or derivatives, target first, shape (2, any).
        """
        together: Float64 = sides[0] + self.penalty * sides[1]
        return together

    def search(self, here: Float64, slopes: Float64, ahead: int, behind: int) -> Step:
        """The best allowed step towards one source, from here or from another source alone.

        Args:
            here: A mixture above the floor, shape (sources,).
            slopes: There, shape (2, sources).
            ahead: Source towards which to step.
            behind: Source whose weight a pairwise step takes from.
        """
        corners = np.eye(len(here))
        shares = STEPS[:, None]
        towards = here + shares * (corners[ahead] - here)
        instead = here + shares * here[behind] * (corners[ahead] - corners[behind])
        points = np.vstack([here, towards, instead])
        quality = self.judge.restricted(self.judge.landscape.quality(points, "loss"))
        above = self.judge.above_floor(quality)
        above[0] = True
        general = quality.general.means
        if self.judge.guard.tasks:  # measured by ranks, so their loss is followed along its tangent
            general = (points - here) @ slopes[1]
        target = quality.target.means
        height = self.height(np.stack([target, general]))
        taken, wished = int(np.argmax(np.where(above, height, -np.inf))), int(np.argmax(height))
        lost = general[0] - general[wished]
        held = height[wished] > height[taken] + NOISE and lost > 0
        rate = float((target[wished] - target[0]) / lost) if held else 0.0
        return Step(points[taken] if height[taken] > height[0] + NOISE else None, rate)


def _without(weights: Float64, place: int) -> Float64:
    """A mixture without one expert, whose weight goes to all others or to the base, shape (2, sources)."""
    rest = weights.copy()
    rest[place] = 0
    to_base = rest.copy()
    to_base[0] += weights[place]
    shared = rest / rest.sum() if rest.any() else to_base
    return np.stack([in_decimals(shared), in_decimals(to_base)])
