"""Scores of several models on one task, query beside query."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING
from zlib import crc32

import numpy as np

from embedmerge.evaluation.significance import Difference, randomisation_p, signed_means
from embedmerge.retrieval.uncertainty import middle, resampled_means

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from embedmerge.evaluation.scores import TaskScores

    Float64 = NDArray[np.float64]

DECIMALS = 6  # of a difference of two scores: what is left after them is float64 arithmetic


@dataclass(frozen=True)
class PairedTask:
    """One task on which all models were run.

    Attributes:
        scores: By model.
        queries: Ids of the queries that any model has a score for.
        values: nDCG@10 in points, shape (queries, models); 0 for a query that a model gave no result for.
    """

    scores: dict[str, TaskScores]
    queries: tuple[str, ...]
    values: Float64

    @classmethod
    def of(cls, scores: Mapping[str, TaskScores]) -> PairedTask:
        """Align the models' scores by query."""
        queries = tuple(dict.fromkeys(query for own in scores.values() for query in own.per_query))
        columns = [[own.per_query.get(query, 0.0) for query in queries] for own in scores.values()]
        return cls(dict(scores), queries, np.array(columns, dtype=np.float64).T)

    @property
    def facts(self) -> TaskScores:
        """The first model's scores, for what they say of the task."""
        return next(iter(self.scores.values()))

    def of_model(self, model: str) -> Float64:
        """Its score of every query, shape (queries,)."""
        return self.values[:, self._column(model)]

    def deltas(self, model: str, reference: str) -> Float64:
        """What a model has over another on every query, shape (queries,)."""
        return np.round(self.of_model(model) - self.of_model(reference), DECIMALS)

    def resampled(self, model: str, reference: str) -> Float64:
        """Mean differences of resampled queries, shape (resamples,)."""
        return self._resampled[:, self._column(model)] - self._resampled[:, self._column(reference)]

    def signed(self, model: str, reference: str) -> Float64:
        """Mean differences under random signs, shape (randomisations,)."""
        return self._signed[:, self._column(model)] - self._signed[:, self._column(reference)]

    @cached_property
    def _resampled(self) -> Float64:
        return resampled_means(self.values, self._seed)

    @cached_property
    def _signed(self) -> Float64:
        return signed_means(self.values, self._seed)

    @property
    def _seed(self) -> int:
        """The task's own, so that its numbers do not depend on which other tasks there are."""
        return crc32(f"{self.facts.task}:{self.facts.split}".encode())

    def _column(self, model: str) -> int:
        return list(self.scores).index(model)


def paired_tasks(scores: Mapping[str, Sequence[TaskScores]]) -> list[PairedTask]:
    """Every task with all models.

    Args:
        scores: Model -> its scores on the same tasks in the same order.
    """
    return [
        PairedTask.of(dict(zip(scores, by_model, strict=True)))
        for by_model in zip(*scores.values(), strict=True)
    ]


def difference(tasks: Sequence[PairedTask], model: str, reference: str) -> Difference:
    """Mean over tasks of the mean paired difference between two models."""
    deltas = [task.deltas(model, reference) for task in tasks]
    low, high = middle(mean_resampled(tasks, model, reference))
    null = np.mean([task.signed(model, reference) for task in tasks], axis=0)
    together = np.concatenate(deltas)
    return Difference(
        points=round(float(np.mean([delta.mean() for delta in deltas])), 4),
        low=round(low, 4),
        high=round(high, 4),
        p=round(randomisation_p(deltas, null), 6),
        wins=int((together > 0).sum()),
        ties=int((together == 0).sum()),
        losses=int((together < 0).sum()),
    )


def mean_resampled(tasks: Sequence[PairedTask], model: str, reference: str) -> Float64:
    """Mean over tasks, each resampled on its own, of resampled mean differences, shape (resamples,)."""
    means: Float64 = np.mean([task.resampled(model, reference) for task in tasks], axis=0)
    return means
