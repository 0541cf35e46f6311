"""Tables for the terminal, whole at any width: what does not fit side by side is set below."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from rich import box
from rich.cells import cell_len, chop_cells
from rich.console import Console, Group
from rich.constrain import Constrain
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from embedmerge.report import choosing, wording

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from rich.console import RenderableType

    from embedmerge.evaluation.compare import Cell, Comparison, Difference, Side
    from embedmerge.report.document import Report
    from embedmerge.weighting.selection import Selection
    from embedmerge.weighting.strategy import Choice

GAP = 2
NAME_WIDTH = 12
LEAD_WIDTH = 20
LEAST_LEAD = 8
BAR_WIDTH = 24
SHORT_BAR = 12
_STYLES = {"gain": "bold green", "loss": "bold red", "even": ""}
_ASCII = str.maketrans({"−": "-", "—": "-", "█": "#", "•": "*", "≈": "~", "±": "+"})
_PIECES = re.compile(r"[^-_/. ]*[-_/. ]|[^-_/. ]+")


@dataclass(frozen=True)
class _Column:
    """A column whose width is known before rich sees it."""

    header: str
    cells: tuple[Text, ...]

    @property
    def width(self) -> int:
        lines = [*self.header.split("\n"), *(line for cell in self.cells for line in cell.plain.split("\n"))]
        return max(cell_len(line) for line in lines)


_Groups = Sequence[Sequence[_Column]]


@dataclass(frozen=True)
class _Rows:
    """The first column and what holds for whole rows."""

    header: str
    names: tuple[str, ...]
    styles: tuple[str, ...]
    rules_before: frozenset[int] = frozenset()

    @property
    def width(self) -> int:
        return max(cell_len(name) for name in (self.header, *self.names))


def _broken(name: str, width: int) -> str:
    """Return `name` on lines of at most `width` cells, broken after separators where it has some."""
    lines = [""]
    for piece in _PIECES.findall(name):
        for part in chop_cells(piece, width):
            if cell_len(lines[-1] + part.rstrip()) > width:
                lines.append("")
            lines[-1] += part
    return "\n".join(line.strip() for line in lines)


def _span(columns: Iterable[_Column]) -> int:
    return sum(column.width + GAP for column in columns)


def _chunks(groups: _Groups, number: int) -> list[list[_Column]]:
    """Return the groups in `number` runs of nearly equal length."""
    bounds = [len(groups) * index // number for index in range(number + 1)]
    return [[column for group in groups[start:stop] for column in group] for start, stop in pairwise(bounds)]


def _table(rows: _Rows, columns: Sequence[_Column], lead: int) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, collapse_padding=True)
    table.add_column(rows.header, vertical="bottom", no_wrap=True)
    for column in columns:
        table.add_column(column.header, justify="right", vertical="bottom", no_wrap=True)
    for index, name in enumerate(rows.names):
        if index in rows.rules_before:
            table.add_section()
        cells = [column.cells[index] for column in columns]
        table.add_row(Text(_broken(name, lead)), *cells, style=rows.styles[index])
    return table


def _partitions(groups: _Groups, apart: _Groups) -> Iterator[list[list[_Column]]]:
    """Yield ways to share the columns out, fewest tables first; `apart` goes below before others are torn."""
    together = [*groups, *apart]
    for number in range(1, len(together) + 1):
        if apart and 1 < number <= len(groups) + 1:
            yield [*_chunks(groups, number - 1), [column for group in apart for column in group]]
        yield _chunks(together, number)


def _tables(rows: _Rows, groups: _Groups, width: int, apart: _Groups = ()) -> list[Table]:
    """Return as few tables as `width` allows, every one with the row names; a group is never torn."""
    least = min(rows.width, LEAD_WIDTH)
    partitions = list(_partitions(groups, apart))
    chunks = next((part for part in partitions if max(map(_span, part)) + least <= width), partitions[-1])
    lead = max(LEAST_LEAD, width - max(map(_span, chunks)))
    return [_table(rows, chunk, lead) for chunk in chunks]


def _difference(value: Difference | None) -> Text:
    # The mark has its own place, so that the digits stand below each other.
    text = wording.difference(value)
    return Text(text if text.endswith(wording.MARK) else f"{text} ", style=_STYLES[wording.tone(value)])


def _score(cell: Cell | None, style: str = "") -> Text:
    return Text(wording.NOTHING if cell is None else wording.points(cell.ndcg_at_10), style=style)


def _side_columns(comparison: Comparison, side: Side) -> list[_Column]:
    cells = [comparison.means[side].get(model) for model in comparison.models]
    scores = _Column(f"{side}\nnDCG@10", tuple(_score(cell) for cell in cells))
    differences = [
        _Column(
            f"vs\n{reference}", tuple(_difference(wording.to_reference(cell, reference)) for cell in cells)
        )
        for reference in wording.references(comparison)
    ]
    return [scores, *differences]


def _summary(comparison: Comparison, width: int) -> list[Table]:
    models = comparison.models
    place = models.index(comparison.merged) if comparison.merged in models else len(models)
    rows = _Rows(
        header="model",
        names=tuple(wording.named(comparison, model) for model in models),
        styles=tuple("bold" if model == comparison.merged else "" for model in models),
        rules_before=frozenset({place, place + 1} - {0}),
    )
    return _tables(rows, [_side_columns(comparison, side) for side in wording.sides(comparison)], width)


def _task_rows(comparison: Comparison) -> tuple[_Rows, list[int | None]]:
    """Return the rows of the task table, and for each the index of its task, None for a heading."""
    names: list[str] = []
    places: list[int | None] = []
    rules: set[int] = set()
    for side in wording.sides(comparison):
        rules.add(len(names))
        names.append(f"{side} tasks")
        places.append(None)
        for index, task in enumerate(comparison.tasks):
            if task.side == side:
                names.append(wording.one_line(task.task))
                places.append(index)
    styles = tuple("dim" if place is None else "" for place in places)
    return _Rows("task (nDCG@10)", tuple(names), styles, frozenset(rules - {0})), places


def _task_columns(comparison: Comparison, places: Sequence[int | None]) -> list[_Column]:
    """Return the number of queries, then a column of scores for every model."""
    tasks = [None if place is None else comparison.tasks[place] for place in places]
    columns = [_Column("queries", tuple(Text(f"{task.queries:,}" if task else "") for task in tasks))]
    for model in comparison.models:
        style = "bold" if model == comparison.merged else ""
        cells = (_score(task.cells.get(model), style) if task else Text("") for task in tasks)
        columns.append(_Column(_broken(wording.one_line(model), NAME_WIDTH), tuple(cells)))
    return columns


def _task_differences(comparison: Comparison, places: Sequence[int | None]) -> list[_Column]:
    """Return what the merged model (else the fine-tune) gains over each reference, task by task."""
    model = wording.focus(comparison)
    if model is None:
        return []
    cells = [None if place is None else comparison.tasks[place].cells.get(model) for place in places]
    return [
        _Column(
            f"{wording.role(comparison, model)}\nvs\n{reference}",
            tuple(
                Text("") if place is None else _difference(wording.to_reference(cell, reference))
                for place, cell in zip(places, cells, strict=True)
            ),
        )
        for reference in wording.references(comparison, model)
    ]


def _task_tables(comparison: Comparison, width: int) -> list[Table]:
    rows, places = _task_rows(comparison)
    groups = [[column] for column in _task_columns(comparison, places)]
    apart = [[column] for column in _task_differences(comparison, places)]
    return _tables(rows, groups, width, apart)


def comparison_table(comparison: Comparison, width: int | None = None) -> Group:
    """Return the models side by side: means with their differences, then task by task.

    Args:
        comparison: The comparison.
        width: Columns to fill at most; those of the terminal where it is None.

    Returns:
        The tables and the line that explains the mark.
    """
    width = width or Console().width
    parts: list[RenderableType] = []
    for table in (*_summary(comparison, width), *_task_tables(comparison, width)):
        parts += [table, Text("")]
    explained = wording.explained(wording.controls(comparison))
    if wording.references(comparison):
        parts.append(Constrain(Text(f"{wording.LEGEND} {explained}".strip(), style="dim"), width))
    else:
        parts.pop()
    return Group(*parts)


def _weights_table(
    weights: Mapping[str, float], roles: Mapping[str, str], columns: Mapping[str, Mapping[str, str]]
) -> Table:
    """Return a row for every source, with a bar.

    Args:
        weights: By source.
        roles: By source; empty where there are none to show.
        columns: What else is said of each source, by the column's name; empty ones are left out.
    """
    shown = {header: cells for header, cells in columns.items() if cells}
    lead, bar = (LEAD_WIDTH, SHORT_BAR) if shown else (28, BAR_WIDTH)
    table = Table(box=None, show_header=bool(shown), pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("source")
    if roles:
        table.add_column("", style="dim")
    table.add_column("weight", justify="right", no_wrap=True)
    for header in shown:
        table.add_column(header, no_wrap=True)
    table.add_column("")
    largest = max((abs(value) for value in weights.values()), default=0.0) or 1.0
    for name, value in weights.items():
        table.add_row(
            Text(_broken(wording.one_line(name), lead)),
            *([Text(roles.get(name, ""))] if roles else []),
            Text(wording.weight(value)),
            *(Text(cells.get(name, "")) for cells in shown.values()),
            Text("█" * round(bar * abs(value) / largest), style="cyan" if value >= 0 else "red"),
        )
    return table


def _as_good(selection: Selection | None) -> dict[str, str]:
    return {name: choosing.reach(bounds) for name, bounds in selection.as_good.items()} if selection else {}


def _candidates(selection: Selection, width: int) -> list[Table]:
    """Return the candidates with their differences to the base, each side whole."""
    found = choosing.rows(selection)
    place = next((at for at, row in enumerate(found) if row.kind == "merged"), len(found))
    rows = _Rows(
        header="candidate",
        names=tuple(wording.one_line(row.name) for row in found),
        styles=tuple("bold" if row.kind == "merged" else "" for row in found),
        rules_before=frozenset({len(selection.as_good), place} - {0, len(found)}),
    )
    target = [
        _Column(f"target\n{choosing.target_measure(selection)}", tuple(Text(row.target) for row in found)),
        *_paired([row.target_to_base for row in found]),
    ]
    general = [_Column(choosing.general_header(selection), tuple(Text(row.general) for row in found))]
    if not choosing.is_divergence(selection):
        general += _paired([row.general_to_base for row in found])
    return _tables(rows, [target, general], width)


def _paired(differences: Sequence[Difference | None]) -> list[_Column]:
    intervals = (Text("" if value is None else wording.interval(value), style="dim") for value in differences)
    return [
        _Column("vs\nbase", tuple(_difference(value) for value in differences)),
        _Column("95 %\ninterval", tuple(intervals)),
    ]


def _bullets(lines: Sequence[str]) -> Table:
    table = Table.grid(padding=(0, 1, 0, 0))
    for line in lines:
        table.add_row(Text("•"), Text(wording.one_line(line)))
    return table


def _chosen(report: Report) -> Text:
    weighting = report.weighting
    parts = [f"{report.method} merge, {weighting.strategy} weights"]
    if weighting.examples:
        parts.append(f"from {wording.counted(weighting.examples, 'example')}")
    return Text(" ".join(parts), style="dim")


def _verdict(comparison: Comparison) -> list[RenderableType]:
    if not comparison.verdict:
        return []
    return [Text(""), Text("Verdict", style="bold"), _bullets(comparison.verdict)]


def _show(parts: Sequence[RenderableType], console: Console) -> None:
    if not console.options.ascii_only:
        console.print(Group(*parts))
        return
    # A log in cp1252 or ASCII has no minus sign and no blocks, and would end the run with an encoding error.
    with console.capture() as capture:
        console.print(Group(*parts))
    text = capture.get().translate(_ASCII)
    console.file.write(text.encode(console.encoding, "replace").decode(console.encoding))


def print_comparison(comparison: Comparison, console: Console) -> None:
    """Print the comparison and what it says.

    Args:
        comparison: The comparison; base, fine-tune and merged model may be missing.
        console: Where to print.
    """
    _show([comparison_table(comparison, console.width), *_verdict(comparison)], console)


def print_report(report: Report, console: Console) -> None:
    """Print a finished run: weights, comparison, verdict, notes.

    Args:
        report: The report.
        console: Where to print.
    """
    selection = report.weighting.selection
    roles = {source.name: source.role for source in report.sources}
    parts: list[RenderableType] = [
        Text(wording.one_line(report.title), style="bold"),
        _chosen(report),
        Padding(_weights_table(report.weights, roles, {"as good": _as_good(selection)}), (1, 0)),
    ]
    if selection is not None:
        parts += [Text(choosing.in_brief(selection)), Text("")]
    if report.comparison is None:
        parts += _considered(selection, console.width) if selection else []
        parts.append(Text("Not compared: the recipe names no task."))
    else:
        parts += [comparison_table(report.comparison, console.width), *_verdict(report.comparison)]
    parts += _notes((*(selection.notes if selection else ()), *report.notes))
    _show(parts, console)


def print_selection(choice: Choice, console: Console) -> None:
    """Print chosen weights: what is as good, what they were chosen among, and how sure that is.

    Args:
        choice: The choice; without a selection its weights and losses are all there is.
        console: Where to print.
    """
    selection, weights = choice.selection, choice.coefficients.weights
    parts: list[RenderableType] = [
        _weights_table(weights, {}, {"as good": _as_good(selection), "loss": _losses(choice)}),
        *([Text(wording.settings(choice.parameters))] if choice.parameters else []),
    ]
    if selection is not None:
        parts += [Text(""), Text(choosing.in_brief(selection)), Text("")]
        parts += [*_considered(selection, console.width), Text(choosing.checked(selection), style="dim")]
        parts += [Text(choosing.confirmed(selection), style="dim"), *_notes(selection.notes)]
    _show(parts, console)


def _considered(selection: Selection, width: int) -> list[RenderableType]:
    legend = f"{choosing.LEGEND} {wording.explained(wording.CONTROLS)}"
    tables = [part for table in _candidates(selection, width) for part in (table, Text(""))]
    return [*tables, Text(legend, style="dim")]


def _losses(choice: Choice) -> dict[str, str]:
    errors = {name: f" ± {error:.3f}" for name, error in choice.losses_se.items()}
    return {name: f"{loss:.3f}{errors.get(name, '')}" for name, loss in choice.losses.items()}


def _notes(notes: Sequence[str]) -> list[RenderableType]:
    return [Text(""), Text("Notes", style="bold"), _bullets(notes)] if notes else []
