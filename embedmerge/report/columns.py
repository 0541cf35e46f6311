"""Tables whose widths are known before they are printed: what does not fit side by side is set below."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from rich import box
from rich.cells import cell_len, chop_cells
from rich.table import Table
from rich.text import Text

from embedmerge.report import wording

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from embedmerge.evaluation.compare import Cell, ComparedTask, Comparison
    from embedmerge.evaluation.scores import Side
    from embedmerge.evaluation.significance import Difference

GAP = 2
LEAD_WIDTH = 20
LEAST_LEAD = 8
_STYLES = {"gain": "bold green", "loss": "bold red", "even": ""}
_PIECES = re.compile(r"[^-_/. ]*[-_/. ]|[^-_/. ]+")


@dataclass(frozen=True)
class Column:
    """A column whose width is known before rich sees it."""

    header: str
    cells: tuple[Text, ...]

    @property
    def width(self) -> int:
        """Terminal cells of its widest line."""
        lines = [*self.header.split("\n"), *(line for cell in self.cells for line in cell.plain.split("\n"))]
        return max(cell_len(line) for line in lines)


Groups = Sequence[Sequence[Column]]


@dataclass(frozen=True)
class Rows:
    """The first column and what holds for whole rows."""

    header: str
    names: tuple[str, ...]
    styles: tuple[str, ...]
    rules_before: frozenset[int] = frozenset()

    @property
    def width(self) -> int:
        """Terminal cells of the widest name."""
        return max(cell_len(name) for name in (self.header, *self.names))


def side_lines(comparison: Comparison, side: Side) -> Iterator[tuple[str, ComparedTask | None]]:
    """Yield what the first column says: a heading, which has no task, then the tasks of a side."""
    yield f"{side} tasks", None
    yield from ((wording.one_line(task.task), task) for task in comparison.tasks if task.side == side)


def queries_column(tasks: Iterable[ComparedTask | None]) -> Column:
    """Return the number of queries of each task, nothing where there is none."""
    return Column("queries", tuple(Text(f"{task.queries:,}" if task else "") for task in tasks))


def task_rows(names: Sequence[str], headings: Sequence[bool]) -> Rows:
    """Return rows of tasks below the headings of their sides, with a rule between the sides."""
    places = [place for place, heading in enumerate(headings) if heading]
    styles = tuple("dim" if heading else "" for heading in headings)
    return Rows("task (nDCG@10)", tuple(names), styles, frozenset(places[1:]))


def broken(name: str, width: int) -> str:
    """Return `name` on lines of at most `width` cells, broken after separators where it has some."""
    lines = [""]
    for piece in _PIECES.findall(name):
        for part in chop_cells(piece, width):
            if cell_len(lines[-1] + part.rstrip()) > width:
                lines.append("")
            lines[-1] += part
    return "\n".join(line.strip() for line in lines)


def _span(columns: Iterable[Column]) -> int:
    return sum(column.width + GAP for column in columns)


def _chunks(groups: Groups, number: int) -> list[list[Column]]:
    """Return the groups in `number` runs of nearly equal length."""
    bounds = [len(groups) * index // number for index in range(number + 1)]
    return [[column for group in groups[start:stop] for column in group] for start, stop in pairwise(bounds)]


def _table(rows: Rows, columns: Sequence[Column], lead: int) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, collapse_padding=True)
    table.add_column(rows.header, vertical="bottom", no_wrap=True)
    for column in columns:
        table.add_column(column.header, justify="right", vertical="bottom", no_wrap=True)
    for index, name in enumerate(rows.names):
        if index in rows.rules_before:
            table.add_section()
        cells = [column.cells[index] for column in columns]
        table.add_row(Text(broken(name, lead)), *cells, style=rows.styles[index])
    return table


def side_by_side(rows: Rows, groups: Groups, width: int) -> list[Table]:
    """Return as few tables as `width` allows, every one with the row names; a group is never torn."""
    least = min(rows.width, LEAD_WIDTH)
    partitions = [_chunks(groups, number) for number in range(1, len(groups) + 1)]
    chunks = next((part for part in partitions if max(map(_span, part)) + least <= width), partitions[-1])
    lead = max(LEAST_LEAD, width - max(map(_span, chunks)))
    return [_table(rows, chunk, lead) for chunk in chunks]


def difference(value: Difference | None, room: int = 1) -> Text:
    """Return a difference with its marks, green or red where it is real.

    Args:
        value: The difference; None for a dash.
        room: Places for marks.
    """
    # Marks have their own place, so that the digits stand below each other.
    marks = "" if value is None else wording.marks(value)
    text = wording.difference(value) + " " * (room - len(marks))
    return Text(text, style=_STYLES[wording.tone(value)])


def score(cell: Cell | None, style: str = "") -> Text:
    """Return nDCG@10 in points, a dash where there is none."""
    return Text(wording.NOTHING if cell is None else wording.points(cell.ndcg_at_10), style=style)
