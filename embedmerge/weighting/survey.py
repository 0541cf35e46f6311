"""The course of a choice by approximation: bend, choose, confirm by a true merge."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from embedmerge.weighting.decimals import in_decimals
from embedmerge.weighting.groundwork import Confirmed, Groundwork, Options
from embedmerge.weighting.selection import Confirmation

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from embedmerge.mixture import Mixture
    from embedmerge.weighting.guarded import Guarded, Judge
    from embedmerge.weighting.landscape import Embedded
    from embedmerge.weighting.mesh import Edge
    from embedmerge.weighting.quality import Quality
    from embedmerge.weighting.strategy import Evidence

    Float64 = NDArray[np.float64]

ALL_PAIRS = 4  # sources up to which the midpoint of every pair is tried
LOSS_TOLERANCE = 0.02  # nats
SHARE_OF_BUDGET = 0.2  # of a divergence's budget that the approximation may be off


class Survey(Groundwork):
    """One choice of weights from a few encodes, step by step; attributes as those of `Groundwork`.

    Args:
        strategy: Picks weights by a judge.
        evidence: Sources, examples, and what encodes.

    Raises:
        EmbedmergeError: Examples or guard do not allow a choice.
    """

    exact = False

    def __init__(self, strategy: Guarded, evidence: Evidence) -> None:
        super().__init__(strategy, evidence, evidence.method)
        self.landscape.bend(self._pairs_tried())

    def confirmed(self, judge: Judge) -> Confirmed:
        """Pick, merge, encode; where the approximation was off, mend it there and pick again.

        Raises:
            EmbedmergeError: No mixture is above the floor.
        """
        tried: list[tuple[Confirmed, Quality]] = []
        for turn in range(1, self.strategy.rounds + 1):
            weights = in_decimals(self.strategy.pick(judge))
            known = next((each for each, _ in tried if np.array_equal(each.weights, weights)), None)
            if known:  # what it was off when first looked at is what a reader should know
                confirmation = replace(known.confirmation, rounds=turn)
                return replace(known, confirmation=confirmation, near=True)
            embedded = self.landscape.merged(weights)
            true = judge.restricted(self.landscape.judged(embedded, self.objective))
            confirmed = self._held_against(true, weights, embedded, judge, turn)
            if confirmed.holds:
                return confirmed
            tried.append((confirmed, true))
            if turn < self.strategy.rounds:
                self.landscape.refine(weights, embedded, self.live)
        return _best(tried, judge)

    def picked(self, judge: Judge) -> Quality:
        """As `Groundwork.picked`; approximate."""
        return self.landscape.quality(self.strategy.pick(judge)[None], self.reported)

    def averaged(self, weights: Float64) -> tuple[Quality, bool]:
        """As `Groundwork.averaged`; encoded where no plain average, or a lost source, is in the landscape."""
        if self.evidence.method.keeps_sources and not weights[self.lost].any():
            return self.landscape.quality(weights[None], self.reported), False
        return self.landscape.judged(self.landscape.averaged(weights), self.reported), True

    def options(self, judge: Judge, chosen: Confirmed) -> Options:
        """As `Groundwork.options`; approximate."""
        points = np.vstack([self.strategy.points(judge), chosen.weights])
        objective = self.landscape.quality(points, self.objective)
        same = self.reported == self.objective
        return Options(
            points, objective, objective if same else self.landscape.quality(points, self.reported)
        )

    def mixture(self, chosen: Confirmed) -> Mixture:
        """As `Groundwork.mixture`."""
        return self.landscape.mixture(chosen.weights)

    def _held_against(
        self, true: Quality, weights: Float64, embedded: list[Embedded], judge: Judge, turn: int
    ) -> Confirmed:
        """A mixture that was encoded, beside what was expected of it."""
        expected = judge.quality(weights[None])
        target, general = (
            float(side.means[0] - other.means[0])
            for side, other in ((expected.target, true.target), (expected.general, true.general))
        )
        near = abs(target) <= self._tolerance and abs(general) <= self._general_tolerance
        kept = bool(judge.above_floor(true)[0])
        confirmation = Confirmation(
            turn, self.landscape.encodes, target, general, self.landscape.off(weights, embedded)
        )
        reported = self.landscape.judged(embedded, self.reported)
        return Confirmed(weights, reported, confirmation, near, kept)

    def _pairs_tried(self) -> list[Edge]:
        """Pairs of live sources; in a large pool those with the base, where most of the weight stays."""
        pairs = [edge for edge in self.landscape.mesh.edges if set(edge) <= set(self.live)]
        return pairs if len(self.live) <= ALL_PAIRS else [edge for edge in pairs if 0 in edge]

    @property
    def _tolerance(self) -> float:
        return LOSS_TOLERANCE if self.objective == "loss" else self.strategy.tolerance

    @property
    def _general_tolerance(self) -> float:
        guard = self.strategy.guard
        return self.strategy.tolerance if guard.tasks else max(SHARE_OF_BUDGET * guard.budget, 1e-3)


def _best(tried: list[tuple[Confirmed, Quality]], judge: Judge) -> Confirmed:
    """Of mixtures that were all off, the truly best; the last where none keeps the floor."""
    kept = [place for place, (_, true) in enumerate(tried) if judge.above_floor(true)[0]]
    best = tried[max(kept, key=lambda place: tried[place][1].target.means[0], default=-1)][0]
    spent = tried[-1][0].confirmation  # rounds and encodes of the last count, whichever was best
    confirmation = replace(best.confirmation, rounds=spent.rounds, encodes=spent.encodes)
    return replace(best, confirmation=confirmation)
