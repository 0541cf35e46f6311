"""Where a model is better, where it is worse, and what of it is real: one table for the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from embedmerge.report import wording
from embedmerge.report.columns import (
    Column,
    difference,
    queries_column,
    score,
    side_by_side,
    side_lines,
    task_rows,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from rich.table import Table

    from embedmerge.evaluation.compare import Cell, ComparedTask, Comparison
    from embedmerge.evaluation.scores import Side
    from embedmerge.evaluation.significance import Difference

    Lines = Sequence[Mapping[str, Cell] | None]


def answer(comparison: Comparison, width: int) -> list[Table]:
    """Return where the merged model (else the fine-tune) is better, where it is worse, and what is real."""
    model = wording.focus(comparison)
    if model is None:
        return []
    lines = [line for side in wording.sides(comparison) for line in _lines(comparison, side)]
    names, rows = zip(*lines, strict=True)
    about = task_rows(names, [cells is None for cells in rows])
    groups = [_scores(comparison, model, rows), *_gains(comparison, model, rows)]
    if says_all(comparison):
        tasks = [task for side in wording.sides(comparison) for task in _tasks(comparison, side)]
        groups.insert(0, [queries_column(tasks)])
    return side_by_side(about, groups, width)


def says_all(comparison: Comparison) -> bool:
    """Whether the answer has the scores of every model, so that they need no table of their own."""
    model = wording.focus(comparison)
    return model is not None and set(comparison.models) <= {comparison.base, model}


def _tasks(comparison: Comparison, side: Side) -> Iterator[ComparedTask | None]:
    """Yield the task of each line of `_lines`."""
    tasks = [task for _, task in side_lines(comparison, side)]
    yield from tasks
    if len(tasks) > 2:  # a heading, and several that have a mean
        yield None


def _lines(comparison: Comparison, side: Side) -> Iterator[tuple[str, Mapping[str, Cell] | None]]:
    """Yield a heading without cells, the tasks of a side, and their mean where there are several."""
    for name, task in side_lines(comparison, side):
        yield name, task.cells if task else None
    number = sum(task.side == side for task in comparison.tasks)
    if number > 1:
        yield f"mean of {number}", comparison.means[side]


def _scores(comparison: Comparison, model: str, rows: Lines) -> list[Column]:
    shown = dict.fromkeys(name for name in (comparison.base, model) if name is not None)
    return [
        Column(
            wording.role(comparison, name) or wording.one_line(name),
            tuple(Text("") if cells is None else score(cells.get(name)) for cells in rows),
        )
        for name in shown
    ]


def _gains(comparison: Comparison, model: str, rows: Lines) -> Iterator[list[Column]]:
    """Yield the difference to the first reference with what it rests on, then that to the other."""
    room = 2 if wording.are_corrected(comparison) else 1
    for place, reference in enumerate(wording.references(comparison, model)):
        found = [wording.to_reference(cells.get(model), reference) if cells else None for cells in rows]
        gained = Column(f"vs\n{reference}", tuple(_gain(value, room) for value in found))
        if place:
            yield [gained]
            continue
        yield [gained, Column("95 %\ninterval", tuple(_soft(_interval(value)) for value in found))]
        counts = [_won(value) for value in found]
        if any(counts):
            yield [Column("better/\nworse", tuple(map(_soft, counts)))]


def _soft(text: str) -> Text:
    return Text(text, style="dim")


def _gain(value: Difference | None, room: int) -> Text:
    return Text("") if value is None else difference(value, room)


def _interval(value: Difference | None) -> str:
    return "" if value is None else wording.interval(value)


def _won(value: Difference | None) -> str:
    """Queries that are better and worse; nothing where they were not counted."""
    if value is None or not value.wins + value.ties + value.losses:
        return ""
    return f"{value.wins:,}/{value.losses:,}"
