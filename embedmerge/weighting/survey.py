"""The course of a choice: encode, find which sources are lost, choose, confirm by a true merge."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from embedmerge.errors import EmbedmergeError
from embedmerge.weighting.cocktail import DECIMALS
from embedmerge.weighting.examples import distinct_examples
from embedmerge.weighting.ground import Retrieval
from embedmerge.weighting.guarded import Judge
from embedmerge.weighting.landscape import Landscape, Quality, Side
from embedmerge.weighting.pool import Pool
from embedmerge.weighting.selection import Confirmation

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from embedmerge.weighting.ground import Measure
    from embedmerge.weighting.guarded import Guarded
    from embedmerge.weighting.landscape import Embedded
    from embedmerge.weighting.mesh import Edge
    from embedmerge.weighting.strategy import Evidence

    Float64 = NDArray[np.float64]
    Rows = NDArray[np.int64]

SPLIT_FROM = 200  # examples from which on half of them are kept for checking
FOLDS = 5
ALL_PAIRS = 4  # sources up to which every pair's midpoint is tried
LOST = 0.25  # share of the way from knowing nothing to the base below which a source is lost
LOSS_TOLERANCE = 0.02  # nats
SHARE_OF_BUDGET = 0.2  # of a divergence's budget that the approximation may be off


@dataclass(frozen=True)
class Fold:
    """Queries that choosing may look at, and queries that check what was chosen by these; by side."""

    choosing: tuple[Rows, Rows]
    checking: tuple[Rows, Rows]


@dataclass(frozen=True)
class Confirmed:
    """A mixture that was really merged and encoded.

    Attributes:
        weights: Shape (sources,).
        embedded: Its embeddings of the candidates.
        confirmation: What it showed.
        holds: Whether it was as expected and above the floor.
    """

    weights: Float64
    embedded: list[Embedded]
    confirmation: Confirmation
    holds: bool


class Survey:
    """One choice of weights, step by step.

    Args:
        strategy: Picks weights by a judge.
        evidence: Sources, examples, and what encodes.

    Attributes:
        landscape: Quality of any mixture.
        objective: What is maximised on the target.
        reported: What the target's quality is reported in.
        examples: Number of target queries looked at.
        lost: Places of sources that no longer retrieve.
        live: Places of the others.

    Raises:
        EmbedmergeError: Examples or guard do not allow a choice.
    """

    def __init__(self, strategy: Guarded, evidence: Evidence) -> None:
        self.strategy = strategy
        self.evidence = evidence
        examples = distinct_examples(evidence.examples, strategy.most_examples, strategy.seed)
        self.examples = len(examples)
        pool = Pool.of_examples(examples, evidence.corpus)
        target = Retrieval("examples", pool, strategy.similarity_temperature)
        self.landscape = Landscape(evidence.trials, [target], strategy.guard.grounds(), evidence.method)
        self.objective: Measure = strategy.objective_for(len(examples))
        self.reported: Measure = self.objective if self.objective != "loss" else "ndcg_at_10"
        self.losses = -self.landscape.quality(self.corners, "loss").target.values
        self._require_finite()
        self.lost = self._lost()
        self.live = [place for place in range(len(self.corners)) if place not in self.lost]
        self.landscape.bend(self._edges_tried())

    @property
    def corners(self) -> Float64:
        """Weights of every source alone."""
        return np.eye(len(self.evidence.names))

    def folds(self) -> list[Fold]:
        """One fold with half of the queries for checking, or a few that take turns where examples are few."""
        quality = self.landscape.quality(self.corners[:1], self.objective)
        sizes = quality.target.values.shape[1], quality.general.values.shape[1]
        if sizes[0] >= SPLIT_FROM:
            (first, second) = _parts(quality, 2, self.strategy.seed)
            return [Fold(first, second)]
        parts = _parts(quality, min(FOLDS, *sizes), self.strategy.seed)
        if len(parts) == 1:  # a single example has to do for both
            return [Fold(parts[0], parts[0])]
        return [Fold(_joined([*parts[:turn], *parts[turn + 1 :]]), part) for turn, part in enumerate(parts)]

    def judge(self, rows: tuple[Rows, Rows]) -> Judge:
        """A judge that sees some of the queries."""
        return Judge(self.landscape, self.strategy.guard, self.objective, self.live, *rows)

    def confirmed(self, judge: Judge) -> Confirmed:
        """Pick, merge, encode; where the approximation was off, mend it there and pick again.

        Raises:
            EmbedmergeError: No mixture is above the floor.
        """
        tried: list[Confirmed] = []
        for turn in range(1, self.strategy.rounds + 1):
            weights = self.strategy.pick(judge).round(DECIMALS)
            weights[0] = round(1 - weights[1:].sum(), DECIMALS)
            tried.append(self._looked_at(weights, judge, turn))
            if tried[-1].holds:
                break
            if turn < self.strategy.rounds:
                self.landscape.refine(weights, tried[-1].embedded)
        return tried[-1] if tried[-1].holds else self._best(tried, judge)

    def _looked_at(self, weights: Float64, judge: Judge, turn: int) -> Confirmed:
        embedded = self.landscape.merged(weights)
        true = judge.restricted(self.landscape.judged(embedded, self.objective))
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
        return Confirmed(weights, embedded, confirmation, near and kept)

    def _best(self, tried: list[Confirmed], judge: Judge) -> Confirmed:
        """Of mixtures that were all off, the truly best; the last where none keeps the floor."""
        true = [judge.restricted(self.landscape.judged(each.embedded, self.objective)) for each in tried]
        kept = [place for place, quality in enumerate(true) if judge.above_floor(quality)[0]]
        return tried[max(kept, key=lambda place: true[place].target.means[0], default=-1)]

    def _edges_tried(self) -> list[Edge]:
        """Pairs of live sources; in a large pool those with the base, where the curvature is largest."""
        pairs = [edge for edge in self.landscape.mesh.edges if set(edge) <= set(self.live)]
        return pairs if len(self.live) <= ALL_PAIRS else [edge for edge in pairs if 0 in edge]

    @property
    def _tolerance(self) -> float:
        return LOSS_TOLERANCE if self.objective == "loss" else self.strategy.tolerance

    @property
    def _general_tolerance(self) -> float:
        guard = self.strategy.guard
        return self.strategy.tolerance if guard.tasks else max(SHARE_OF_BUDGET * guard.budget, 1e-3)

    def _require_finite(self) -> None:
        for name, losses in zip(self.evidence.names, self.losses, strict=True):
            if not np.isfinite(losses).all():
                found = f"{name}: its loss on the examples is {losses.mean()}"
                msg = f"{found}; its weights are broken, leave it out"
                raise EmbedmergeError(msg)

    def _lost(self) -> list[int]:
        """Experts that know next to nothing of what the base knows, on either side."""
        quality = self.landscape.quality(self.corners, "ndcg_at_10")
        nothing = self.landscape.knowing_nothing()
        by_side = [
            _share_of_base(side, level) < LOST
            for side, level in zip((quality.target, quality.general), nothing, strict=True)
        ]
        return [int(place) for place in np.flatnonzero(by_side[0] & by_side[1]) if place]


def _share_of_base(side: Side, nothing: float) -> Float64:
    """How far each source is on the way from knowing nothing to the base, shape (sources,)."""
    means = side.means
    shares: Float64 = (means - nothing) / max(means[0] - nothing, 1e-9)
    return shares


def _parts(quality: Quality, number: int, seed: int) -> list[tuple[Rows, Rows]]:
    """The queries of both sides in equal parts, drawn ground by ground."""
    generator = np.random.default_rng(seed)
    by_side = []
    for side in (quality.target, quality.general):
        part = np.empty(len(side.groups), dtype=np.int64)
        for group in np.unique(side.groups):
            rows = generator.permutation(np.flatnonzero(side.groups == group))
            part[rows] = np.arange(len(rows)) % number
        by_side.append(part)
    return [tuple(np.flatnonzero(part == turn) for part in by_side) for turn in range(number)]  # type: ignore[misc]


def _joined(parts: list[tuple[Rows, Rows]]) -> tuple[Rows, Rows]:
    first, second = (np.sort(np.concatenate(rows)) for rows in zip(*parts, strict=True))
    return first, second
