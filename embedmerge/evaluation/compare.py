"""Models side by side on the same tasks: means, paired differences, and what they mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from embedmerge.retrieval.uncertainty import interval

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

Side = Literal["target", "general"]
SIDES: tuple[Side, ...] = ("target", "general")
SMALLEST_GAIN = 0.5  # points; a share of less than this says nothing


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
        means: Side -> model -> cell of unweighted means over the side's tasks; a side without any is absent.
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


def compare(
    scores: Mapping[str, Sequence[TaskScores]],
    base: str | None = None,
    fine_tune: str | None = None,
    merged: str | None = None,
) -> Comparison:
    """Put models side by side.

    Args:
        scores: Model -> its scores on the same tasks in the same order.
        base: Name of the base among them.
        fine_tune: Name of the target expert among them.
        merged: Name of the merged model among them.

    Returns:
        Every difference is paired by query; its interval is a percentile bootstrap over queries, in
        means of several tasks with each task resampled on its own.
    """
    paired = _Paired(scores)
    by_side = [
        (side, [index for index, task in enumerate(paired.tasks) if task.side == side]) for side in SIDES
    ]
    tasks = tuple(
        ComparedTask(
            paired.tasks[index].task,
            paired.tasks[index].split,
            side,
            paired.tasks[index].queries,
            {model: paired.cell(model, [index], base, fine_tune) for model in scores},
        )
        for side, indices in by_side
        for index in indices
    )
    means: dict[Side, dict[str, Cell]] = {
        side: {model: paired.cell(model, indices, base, fine_tune) for model in scores}
        for side, indices in by_side
        if indices
    }
    kept = _gain_kept(means, base, fine_tune, merged)
    verdict = _verdict(means, base, fine_tune, merged, kept)
    return Comparison(tuple(scores), base, fine_tune, merged, tasks, means, kept, verdict)


class _Paired:
    """Scores of several models, aligned by task and query."""

    def __init__(self, scores: Mapping[str, Sequence[TaskScores]]) -> None:
        self._scores = scores
        self.tasks = next(iter(scores.values()), ())

    def cell(self, model: str, indices: Sequence[int], base: str | None, fine_tune: str | None) -> Cell:
        own = [self._scores[model][index] for index in indices]
        return Cell(
            ndcg_at_10=round(float(np.mean([task.ndcg_at_10 for task in own])), 4),
            recall_at_100=round(float(np.mean([task.recall_at_100 for task in own])), 4),
            to_base=self._difference(model, base, indices),
            to_fine_tune=self._difference(model, fine_tune, indices),
        )

    def _difference(self, model: str, other: str | None, indices: Sequence[int]) -> Difference | None:
        if other is None or other == model:
            return None
        deltas = [self._deltas(self._scores[model][index], self._scores[other][index]) for index in indices]
        low, high = interval(deltas)
        mean = float(np.mean([delta.mean() for delta in deltas]))
        return Difference(round(mean, 4), round(low, 4), round(high, 4))

    @staticmethod
    def _deltas(own: TaskScores, other: TaskScores) -> NDArray[np.float64]:
        return np.array([own.per_query[query] - other.per_query[query] for query in other.per_query])


def _gain_kept(
    means: Mapping[Side, Mapping[str, Cell]], base: str | None, fine_tune: str | None, merged: str | None
) -> float | None:
    if "target" not in means or base is None or fine_tune is None or merged is None:
        return None
    target = means["target"]
    gain = target[fine_tune].ndcg_at_10 - target[base].ndcg_at_10
    if gain < SMALLEST_GAIN:
        return None
    return round(100 * (target[merged].ndcg_at_10 - target[base].ndcg_at_10) / gain, 1)


def _verdict(
    means: Mapping[Side, Mapping[str, Cell]],
    base: str | None,
    fine_tune: str | None,
    merged: str | None,
    gain_kept: float | None,
) -> tuple[str, ...]:
    """What to take away first, then each side in numbers."""
    if merged is None:
        return ()
    cells = {side: means[side][merged] for side in means}
    sentences = [_side_sentence(side, cell, fine_tune) for side, cell in cells.items()]
    if gain_kept is not None:
        sentences.append(f"Of the fine-tune's gain on the target the merged model has {gain_kept:.0f} %.")
    claims = []
    if fine_tune is not None and "target" in cells:
        claims.append(_against_fine_tune(cells["target"].to_fine_tune))
    if base is not None and fine_tune is not None and "general" in cells:
        claims.append(_forgetting(means["general"][fine_tune].to_base, cells["general"].to_base))
    headline = [f"The merged model {', and '.join(claims)}."] if claims else []
    return (*headline, *sentences)


def _side_sentence(side: Side, cell: Cell, fine_tune: str | None) -> str:
    parts = [f"{side.capitalize()} retrieval: nDCG@10 {cell.ndcg_at_10:.1f}"]
    if cell.to_base is not None:
        parts.append(f"{_signed(cell.to_base)} to the base")
    if fine_tune is not None and cell.to_fine_tune is not None:
        parts.append(f"{_signed(cell.to_fine_tune)} to the fine-tune")
    return ", ".join(parts) + "."


def _against_fine_tune(difference: Difference | None) -> str:
    if difference is None:
        return "is the fine-tune itself"
    if not difference.is_real:
        return "cannot be told from the fine-tune on the target by these queries"
    if difference.points > 0:
        return "beats the fine-tune on its own ground"
    return f"does not beat the fine-tune on the target, where it is {-difference.points:.1f} points short"


def _forgetting(fine_tune: Difference | None, merged: Difference | None) -> str:
    lost = -fine_tune.points if fine_tune else 0.0
    regained = (merged.points if merged else 0.0) + lost
    if lost < SMALLEST_GAIN:
        return "in general there was nothing to win back, the fine-tune having forgotten nothing"
    if regained <= 0:
        return f"wins back nothing of the {lost:.1f} general points that the fine-tune lost"
    if regained >= lost:
        return f"wins back all of the {lost:.1f} general points that the fine-tune lost"
    return f"wins back {100 * regained / lost:.0f} % of the {lost:.1f} general points that the fine-tune lost"


def _signed(difference: Difference) -> str:
    mark = "" if difference.is_real else ", not certain"
    return (
        f"{_points(difference.points, '+')} ({_points(difference.low)} to {_points(difference.high)}{mark})"
    )


def _points(value: float, sign: str = "-") -> str:
    return f"{value:{sign}.1f}".replace("-", "\N{MINUS SIGN}")
