"""What comes before a choice: examples and guard encoded with every source, and who sees which queries."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from embedmerge.errors import EmbedmergeError
from embedmerge.weighting.examples import distinct_examples
from embedmerge.weighting.ground import Retrieval
from embedmerge.weighting.guarded import Judge
from embedmerge.weighting.landscape import Landscape
from embedmerge.weighting.pool import Pool

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from embedmerge.mixture import Mixture
    from embedmerge.weighting.ground import Ground, Measure
    from embedmerge.weighting.guarded import Guarded
    from embedmerge.weighting.quality import Quality, Side
    from embedmerge.weighting.selection import Confirmation
    from embedmerge.weighting.strategy import Evidence, MethodChoice

    Float64 = NDArray[np.float64]
    Rows = NDArray[np.int64]

SPLIT_FROM = 200  # examples from which on half of them are kept for checking
FOLDS = 5
LOST = 0.25  # share of the way from knowing nothing to the base below which a source is lost


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
        true: Its quality in the reported measure, on all queries.
        confirmation: What it showed.
        near: Whether it was as expected.
        above: Whether it is above the floor.
        parameters: Parameters of the method that were chosen with the weights.
    """

    weights: Float64
    true: Quality
    confirmation: Confirmation
    near: bool
    above: bool
    parameters: dict[str, float] = field(default_factory=dict)

    @property
    def holds(self) -> bool:
        """Whether it is what it was chosen for."""
        return self.near and self.above


@dataclass(frozen=True)
class Options:
    """Mixtures that a choice was made among, on all queries.

    Attributes:
        weights: Shape (mixtures, sources).
        objective: Their quality by what is maximised.
        reported: Their quality by what is reported.
        parameters: Searched parameters of the method by name, each of shape (mixtures,).
    """

    weights: Float64
    objective: Quality
    reported: Quality
    parameters: dict[str, Float64] = field(default_factory=dict)


class Groundwork(ABC):
    """Sources encoded and sifted; how mixtures are then looked at is up to the heirs.

    Args:
        strategy: Whose choice it is.
        evidence: Sources, examples, and what encodes.
        method: How the mixtures of the landscape are merged.

    Attributes:
        landscape: Quality of any mixture, with all edges straight.
        grounds: What quality is measured on, the target first.
        objective: What is maximised on the target.
        reported: What the target's quality is reported in.
        examples: Number of target queries looked at.
        losses: Loss of every source on every example, shape (sources, examples).
        lost: Places of sources that no longer retrieve.
        live: Places of the others.

    Raises:
        EmbedmergeError: Examples or guard do not allow a choice.
    """

    exact: bool  # whether every number is from a model that was really encoded

    def __init__(self, strategy: Guarded, evidence: Evidence, method: MethodChoice) -> None:
        self.strategy = strategy
        self.evidence = evidence
        examples = distinct_examples(evidence.examples, strategy.most_examples, strategy.seed)
        self.examples = len(examples)
        pool = Pool.of_examples(examples, evidence.corpus)
        target = Retrieval("examples", pool, strategy.similarity_temperature)
        self.grounds: list[Ground] = [target, *strategy.guard.grounds(test_data=strategy.may_see_test_data)]
        self.landscape = Landscape(evidence.trials, self.grounds[:1], self.grounds[1:], method)
        self.objective: Measure = strategy.objective
        self.reported: Measure = self.objective if self.objective != "loss" else "ndcg_at_10"
        self.losses = -self.landscape.of_sources("loss").target.values
        self._require_finite()
        self.lost = self._lost()
        self.live = [place for place in range(len(self.corners)) if place not in self.lost]

    @property
    def corners(self) -> Float64:
        """Weights of every source alone."""
        return np.eye(len(self.evidence.names))

    @cached_property
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

    @cached_property
    def split(self) -> bool:
        """Whether some queries are kept from choosing altogether."""
        return len(self.folds) == 1 and len(self.folds[0].choosing[0]) < self.examples

    @cached_property
    def everything(self) -> tuple[Rows, Rows]:
        """All queries, by side."""
        quality = self.landscape.quality(self.corners[:1])
        return np.arange(len(quality.target.groups)), np.arange(len(quality.general.groups))

    @property
    def choosing(self) -> tuple[Rows, Rows]:
        """Queries that the final choice may look at, by side."""
        return self.folds[0].choosing if self.split else self.everything

    def judge(self, rows: tuple[Rows, Rows]) -> Judge:
        """A judge that sees some of the queries."""
        return Judge(self.landscape, self.strategy.guard, self.objective, self.live, *rows)

    @abstractmethod
    def confirmed(self, judge: Judge) -> Confirmed:
        """Choose by a judge, and know the choice from a true merge.

        Raises:
            EmbedmergeError: No mixture is above the floor.
        """

    @abstractmethod
    def picked(self, judge: Judge) -> Quality:
        """What would be chosen by a judge, in the reported measure and on all queries."""

    @abstractmethod
    def averaged(self, weights: Float64) -> tuple[Quality, bool]:
        """A plain average of the sources, in the reported measure and on all queries.

        Args:
            weights: Shape (sources,).

        Returns:
            Its quality, and whether it was really encoded.
        """

    @abstractmethod
    def options(self, judge: Judge, chosen: Confirmed) -> Options:
        """Everything that a choice by a judge is made among, and the choice as the last."""

    @abstractmethod
    def mixture(self, chosen: Confirmed) -> Mixture:
        """The choice as it is merged, in float32."""

    def notes(self) -> Iterator[str]:
        """What the reader should know of how mixtures were looked at."""
        yield from ()

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
