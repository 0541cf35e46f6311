"""Models side by side on the same tasks: means, paired differences, and what they mean."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from embedmerge.evaluation.flips import WORST, Flips, flips
from embedmerge.evaluation.paired import difference, paired_tasks
from embedmerge.evaluation.retention import Retention, retention
from embedmerge.evaluation.scores import SIDES, Side, TaskScores
from embedmerge.evaluation.significance import Difference, corrected
from embedmerge.evaluation.verdict import verdict

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from embedmerge.evaluation.flips import TextsOf
    from embedmerge.evaluation.paired import PairedTask

References = tuple[str | None, str | None]  # base and fine-tune


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
        retention: Model -> what it keeps of the fine-tune's gain and of the base's general retrieval, with
            intervals; empty without a base.
        flips: Queries whose answer is lost or won, of every model against the base and against the
            fine-tune. The worst are shown for the merged model and the fine-tune; for all where nothing
            was merged.
    """

    models: tuple[str, ...]
    base: str | None
    fine_tune: str | None
    merged: str | None
    tasks: tuple[ComparedTask, ...]
    means: dict[Side, dict[str, Cell]]
    gain_kept: float | None
    verdict: tuple[str, ...]
    retention: dict[str, Retention] = field(default_factory=dict)
    flips: tuple[Flips, ...] = ()


def compare(
    scores: Mapping[str, Sequence[TaskScores]],
    base: str | None = None,
    fine_tune: str | None = None,
    merged: str | None = None,
    *,
    texts: TextsOf | None = None,
) -> Comparison:
    """Put models side by side.

    Args:
        scores: Model -> its scores on the same tasks in the same order.
        base: Name of the base among them.
        fine_tune: Name of the target expert among them.
        merged: Name of the merged model among them.
        texts: Gives the texts of a task from its name and split, for the flips that are shown; without it
            these are shown by their ids.

    Returns:
        Every difference is paired by query, and a query that a model has no result for counts 0. Intervals
        are percentile bootstraps over queries, p values those of the paired randomisation test; in means of
        several tasks each task is resampled, and its signs are drawn, on its own.
    """
    found = paired_tasks(scores)
    by_side = {side: [task for task in found if task.facts.side == side] for side in SIDES}
    by_side = {side: tasks for side, tasks in by_side.items() if tasks}
    tasks = [task for own in by_side.values() for task in own]
    models, references = tuple(scores), (base, fine_tune)
    means = {side: _means(own, models, references) for side, own in by_side.items()}
    kept = retention(by_side, models, base, fine_tune)
    shown = models if merged is None else (merged, fine_tune)
    flipped = tuple(
        flips(tasks, model, reference, worst=WORST if model in shown else 0, texts=texts)
        for model, reference in _replacements(models, references)
    )
    gain = kept[merged].gain_kept if merged in kept else None
    return Comparison(
        models,
        base,
        fine_tune,
        merged,
        _compared(tasks, models, references),
        means,
        gain.value if gain else None,
        verdict(means, base, fine_tune, merged, kept, flipped),
        kept,
        flipped,
    )


def _compared(
    tasks: Sequence[PairedTask], models: Sequence[str], references: References
) -> tuple[ComparedTask, ...]:
    against = {model: [_by_task(tasks, model, reference) for reference in references] for model in models}
    return tuple(
        ComparedTask(
            task.facts.task,
            task.facts.split,
            task.facts.side,
            task.facts.queries,
            {model: _cell([task], model, [by_task[place] for by_task in against[model]]) for model in models},
        )
        for place, task in enumerate(tasks)
    )


def _by_task(tasks: Sequence[PairedTask], model: str, reference: str | None) -> Sequence[Difference | None]:
    """Differences to a reference on single tasks, their p values corrected for the number of tasks."""
    if reference in (None, model):
        return [None] * len(tasks)
    return corrected([difference([task], model, reference) for task in tasks])


def _means(tasks: Sequence[PairedTask], models: Sequence[str], references: References) -> dict[str, Cell]:
    return {
        model: _cell(
            tasks,
            model,
            [None if other in (None, model) else difference(tasks, model, other) for other in references],
        )
        for model in models
    }


def _cell(tasks: Sequence[PairedTask], model: str, against: Sequence[Difference | None]) -> Cell:
    own = [task.scores[model] for task in tasks]
    return Cell(
        round(float(np.mean([scores.ndcg_at_10 for scores in own])), 4),
        round(float(np.mean([scores.recall_at_100 for scores in own])), 4),
        *against,
    )


def _replacements(models: Sequence[str], references: References) -> Iterator[tuple[str, str]]:
    """Every model with every reference whose place it may take."""
    for reference in dict.fromkeys(references):
        for model in models:
            if reference is not None and model != reference:
                yield model, reference
