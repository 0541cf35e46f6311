"""The course of a choice by trial: every mixture that is looked at is really merged and encoded."""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from embedmerge.errors import EmbedmergeError
from embedmerge.merging.coefficients import Coefficients
from embedmerge.mixture import Mixture
from embedmerge.weighting.groundwork import Confirmed, Groundwork, Options
from embedmerge.weighting.quality import Quality
from embedmerge.weighting.search.exploring import explore
from embedmerge.weighting.search.journal import Journal, Record
from embedmerge.weighting.search.marks import Marks
from embedmerge.weighting.search.ranges import ranges_of
from embedmerge.weighting.search.space import Point, Space
from embedmerge.weighting.selection import Confirmation
from embedmerge.weighting.strategy import MethodChoice

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from embedmerge.weighting.guarded import Judge
    from embedmerge.weighting.landscape import Embedded
    from embedmerge.weighting.search.searched import Searched
    from embedmerge.weighting.strategy import Evidence

    Float64 = NDArray[np.float64]

# Settings that change no evaluation; the examples themselves do, wherever they lie.
NOT_DECISIVE = {"trials", "workers", "journal", "examples", "i_know_this_is_test_data"}


class Tried(Groundwork):
    """One search, over when this has been made.

    Base, experts, uniform and cocktail stand beside the choice as they are, whatever the method.

    Args:
        strategy: The search.
        evidence: Sources, examples, and what merges and encodes.

    Raises:
        EmbedmergeError: Examples or guard do not allow a choice, a mixture cannot be merged, or the journal
            is another search's.
    """

    exact = True

    def __init__(self, strategy: Searched, evidence: Evidence) -> None:
        super().__init__(strategy, evidence, MethodChoice())
        ranges = ranges_of(strategy.space, evidence.method, evidence.names)
        self._space = Space(len(evidence.names), self.live, strategy.bounds, ranges)
        self._workers = strategy.workers
        self._loading = Lock()
        path = Path(strategy.journal).expanduser() if strategy.journal else evidence.journal
        with Journal(path, self._content(strategy), self._of_base.objective) as self._journal:
            judge = self.judge(self.choosing)
            points = explore(strategy.optimiser, self._space, self._look, judge, strategy.trials)
        self._records = [self._journal.records[point.key] for point in points]

    @cached_property
    def _objective(self) -> Quality:
        """Of all points looked at."""
        return Quality.stacked([record.objective for record in self._records])

    @cached_property
    def _reported(self) -> Quality:
        return Quality.stacked([record.reported for record in self._records])

    def confirmed(self, judge: Judge) -> Confirmed:
        """The best of what was tried, which needs no further encode.

        Raises:
            EmbedmergeError: No mixture is above the floor.
        """
        best = self._records[Marks.of(judge, self._objective).best]
        encodes = len(self.corners) + len(self._records) - 1  # the base is among both
        confirmation = Confirmation(1, encodes, 0.0, 0.0, 0.0)
        return Confirmed(
            np.array(best.point.weights), best.reported, confirmation, True, True, best.point.parameters
        )

    def picked(self, judge: Judge) -> Quality:
        """As `Groundwork.picked`, among what was tried."""
        return self._records[Marks.of(judge, self._objective).best].reported

    def averaged(self, weights: Float64) -> tuple[Quality, bool]:
        """As `Groundwork.averaged`."""
        return self.landscape.judged(self.landscape.merged(weights), self.reported), True

    def options(self, judge: Judge, chosen: Confirmed) -> Options:
        """As `Groundwork.options`: what was tried."""
        records = [*self._records, self._journal.records[_point(chosen).key]]
        return Options(
            np.array([record.point.weights for record in records]),
            Quality.stacked([record.objective for record in records]),
            Quality.stacked([record.reported for record in records]),
            {
                name: np.array([record.point.parameters[name] for record in records])
                for name in self._space.ranges
            },
        )

    def mixture(self, chosen: Confirmed) -> Mixture:
        """As `Groundwork.mixture`."""
        return self._mixture(_point(chosen))

    def notes(self) -> Iterator[str]:
        """How many mixtures were tried, and what that means for numbers on the queries that were seen."""
        tried = f"All {len(self._records)} mixtures that were compared were really merged and encoded"
        if self.split:
            yield f"{tried}."
        else:
            yield (
                f"{tried}. Where the search looked was decided by all queries, so the numbers of `chosen` "
                "may be a little too good."
            )

    def _look(self, points: Sequence[Point]) -> Quality:
        """Quality of points by the objective; those that the journal lacks are merged and encoded."""
        new = {point.key: point for point in points if point.key not in self._journal.records}
        with ThreadPoolExecutor(self._workers) as pool:
            jobs = [pool.submit(self._try, point) for point in new.values()]
            try:
                for job in jobs:
                    job.result()
            finally:
                for job in jobs:
                    job.cancel()
        return Quality.stacked([self._journal.records[point.key].objective for point in points])

    def _try(self, point: Point) -> None:
        if point == self._of_base.point:
            self._journal.records[point.key] = self._of_base
            return
        try:
            embedded = self._embedded(point)
        except EmbedmergeError as error:
            msg = f"{error} (in a search, at {_described(point)}; narrow its space or bounds)"
            raise EmbedmergeError(msg) from error
        objective = self.landscape.judged(embedded, self.objective)
        same = self.reported == self.objective
        reported = objective if same else self.landscape.judged(embedded, self.reported)
        self._journal.add(Record(point, objective, reported))

    def _embedded(self, point: Point) -> list[Embedded]:
        with self.evidence.trials.of_mixture(self._mixture(point), _described(point)) as encoder:
            if self._workers > 1:
                # Merging uses all cores by itself, and transformers cannot load two models at a time.
                with self._loading:
                    encoder.module_stack()
            return self.landscape.encoded(encoder, kept=True)

    def _mixture(self, point: Point) -> Mixture:
        coefficients = Coefficients(dict(zip(self.evidence.names, point.weights, strict=True)))
        method = self.evidence.method
        return Mixture(coefficients, method.name, {**method.parameters, **point.parameters}, "float32")

    @cached_property
    def _of_base(self) -> Record:
        """The base as it is, whatever the method: it is where every method's experts count for nothing."""
        objective = self.landscape.quality(self.corners[:1], self.objective)
        same = self.reported == self.objective
        reported = objective if same else self.landscape.quality(self.corners[:1], self.reported)
        return Record(self._space.point(self._space.landmarks[0]), objective, reported)

    def _content(self, strategy: Searched) -> dict[str, Any]:
        """Everything that an evaluation depends on."""
        trials = self.evidence.trials
        every = Coefficients.uniform(self.evidence.names).weights.values()
        with trials.of_mixture(self._mixture(Point(tuple(every)))) as encoder:
            model = encoder.model.sha256  # of all sources, the method and its texts; nothing is merged
        grounds = json.dumps([asdict(ground) for ground in self.grounds])  # type: ignore[call-overload]
        return {
            "strategy": strategy.model_dump(
                mode="json", exclude={**dict.fromkeys(NOT_DECISIVE, True), "guard": {"tasks", "text"}}
            ),
            "model": model,
            "grounds": hashlib.sha256(grounds.encode()).hexdigest(),
            "encoding": [
                trials.settings.bf16,
                trials.settings.max_seq_length,
                trials.settings.tokens_per_batch,
            ],
        }


def _point(chosen: Confirmed) -> Point:
    return Point(tuple(chosen.weights.tolist()), chosen.parameters)


def _described(point: Point) -> str:
    """A point in words, for messages and progress.

    >>> _described(Point((0.25, 0.75), {"density": 0.2}))
    'weights 0.25 0.75, density 0.2'
    """
    weights = " ".join(f"{weight:g}" for weight in point.weights)
    return ", ".join(
        [f"weights {weights}", *(f"{name} {value:g}" for name, value in point.parameters.items())]
    )
