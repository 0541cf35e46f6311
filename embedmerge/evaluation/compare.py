"""Models side by side on the same tasks: means, paired differences, and what they mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Side = Literal["target", "general"]
SIDES: tuple[Side, ...] = ("target", "general")


@dataclass(frozen=True)
class TaskScores:
    """One model on one task.

    Attributes:
        task: Name of the task.
        split: Split of the qrels.
        side: Whether the task stands for the target domain or for general retrieval.
        queries: Number of judged queries.
        ndcg_at_10: Mean nDCG@10 in points (0 to 100).
        recall_at_100: Mean recall@100 in points.
        per_query: nDCG@10 of every judged query, in points, by query id.
    """

    task: str
    split: str
    side: Side
    queries: int
    ndcg_at_10: float
    recall_at_100: float
    per_query: dict[str, float]


@dataclass(frozen=True)
class Difference:
    """A mean paired difference in nDCG@10 points, with its bootstrap interval.

    Attributes:
        points: Mean difference.
        low: Lower end of the 95 % percentile interval over queries.
        high: Upper end.
    """

    points: float
    low: float
    high: float

    @property
    def is_real(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class Cell:
    """A model's row in one task, or in the mean over the tasks of one side.

    Attributes:
        ndcg_at_10: Points.
        recall_at_100: Points.
        to_base: Difference to the base; None for the base itself.
        to_fine_tune: Difference to the fine-tune; None for itself and where there is none.
    """

    ndcg_at_10: float
    recall_at_100: float
    to_base: Difference | None
    to_fine_tune: Difference | None


@dataclass(frozen=True)
class ComparedTask:
    """One task with a cell for every model."""

    task: str
    split: str
    side: Side
    queries: int
    cells: dict[str, Cell]


@dataclass(frozen=True)
class Comparison:
    """Everything the report says about quality.

    Attributes:
        models: Names in the order of the table: base, experts, uniform, merged.
        base: Name of the base, or None where there is none.
        fine_tune: Name of the target expert, or None where there is none.
        merged: Name of the merged model, or None where only given models are compared.
        tasks: The tasks, target ones first.
        means: Side -> model -> cell of unweighted means over the side's tasks; a side without tasks is absent.
        gain_kept: Percent of the fine-tune's target gain that the merged model has;
            None without a fine-tune, or where the fine-tune gained less than half a point.
        verdict: Plain sentences on what the numbers say, the important one first.
    """

    models: tuple[str, ...]
    base: str | None
    fine_tune: str | None
    merged: str | None
    tasks: tuple[ComparedTask, ...]
    means: dict[Side, dict[str, Cell]]
    gain_kept: float | None
    verdict: tuple[str, ...]
