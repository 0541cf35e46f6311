"""Tables for the terminal, whole at any width: what does not fit side by side is set below."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.constrain import Constrain
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from embedmerge.report import choosing, wording
from embedmerge.report.answer import answer, says_all
from embedmerge.report.blocks import block_weights
from embedmerge.report.columns import (
    LEAD_WIDTH,
    Column,
    Rows,
    broken,
    difference,
    queries_column,
    score,
    side_by_side,
    side_lines,
    task_rows,
)
from embedmerge.report.heatmap import weight_map

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import RenderableType

    from embedmerge.evaluation.compare import ComparedTask, Comparison
    from embedmerge.evaluation.scores import Side
    from embedmerge.evaluation.significance import Difference
    from embedmerge.report.document import Report
    from embedmerge.weighting.selection import Selection
    from embedmerge.weighting.strategy import Choice

NAME_WIDTH = 12
BAR_WIDTH = 24
SHORT_BAR = 12
_ASCII = str.maketrans({"−": "-", "—": "-", "█": "#", "•": "*", "≈": "~", "±": "+", "†": "^"})


def _side_columns(comparison: Comparison, side: Side) -> list[Column]:
    cells = [comparison.means[side].get(model) for model in comparison.models]
    scores = Column(f"{side}\nnDCG@10", tuple(score(cell) for cell in cells))
    differences = [
        Column(f"vs\n{reference}", tuple(difference(wording.to_reference(cell, reference)) for cell in cells))
        for reference in wording.references(comparison)
    ]
    return [scores, *differences]


def _summary(comparison: Comparison, width: int) -> list[Table]:
    models = comparison.models
    place = models.index(comparison.merged) if comparison.merged in models else len(models)
    rows = Rows(
        header="model",
        names=tuple(wording.named(comparison, model) for model in models),
        styles=tuple("bold" if model == comparison.merged else "" for model in models),
        rules_before=frozenset({place, place + 1} - {0}),
    )
    return side_by_side(rows, [_side_columns(comparison, side) for side in wording.sides(comparison)], width)


def _task_columns(comparison: Comparison, tasks: Sequence[ComparedTask | None]) -> list[Column]:
    """Return the number of queries, then a column of scores for every model."""
    columns = [queries_column(tasks)]
    for model in comparison.models:
        style = "bold" if model == comparison.merged else ""
        cells = (score(task.cells.get(model), style) if task else Text("") for task in tasks)
        columns.append(Column(broken(wording.one_line(model), NAME_WIDTH), tuple(cells)))
    return columns


def _task_tables(comparison: Comparison, width: int) -> list[Table]:
    lines = [line for side in wording.sides(comparison) for line in side_lines(comparison, side)]
    names, tasks = zip(*lines, strict=True)
    groups = [[column] for column in _task_columns(comparison, tasks)]
    return side_by_side(task_rows(names, [task is None for task in tasks]), groups, width)


def comparison_table(comparison: Comparison, width: int | None = None) -> Group:
    """Return the models side by side: means, what was gained and lost task by task, and all scores.

    Args:
        comparison: The comparison.
        width: Columns to fill at most; those of the terminal where it is None.

    Returns:
        The tables and the line that explains the mark.
    """
    width = width or Console().width
    parts: list[RenderableType] = []
    for table in (
        *_summary(comparison, width),
        *answer(comparison, width),
        *([] if says_all(comparison) else _task_tables(comparison, width)),
    ):
        parts += [table, Text("")]
    explained = wording.explained(wording.controls(comparison))
    if wording.references(comparison):
        holm = wording.HOLM if wording.are_corrected(comparison) else ""
        said = " ".join(filter(None, (wording.LEGEND, holm, explained)))
        parts.append(Constrain(Text(said, style="dim"), width))
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
            Text(broken(wording.one_line(name), lead)),
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
    rows = Rows(
        header="candidate",
        names=tuple(wording.one_line(row.name) for row in found),
        styles=tuple("bold" if row.kind == "merged" else "" for row in found),
        rules_before=frozenset({len(selection.as_good), place} - {0, len(found)}),
    )
    target = [
        Column(f"target\n{choosing.target_measure(selection)}", tuple(Text(row.target) for row in found)),
        *_paired([row.target_to_base for row in found]),
    ]
    general = [Column(choosing.general_header(selection), tuple(Text(row.general) for row in found))]
    if not choosing.is_divergence(selection):
        general += _paired([row.general_to_base for row in found])
    return side_by_side(rows, [target, general], width)


def _paired(differences: Sequence[Difference | None]) -> list[Column]:
    intervals = (Text("" if value is None else wording.interval(value), style="dim") for value in differences)
    return [
        Column("vs\nbase", tuple(difference(value) for value in differences)),
        Column("95 %\ninterval", tuple(intervals)),
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
    parts: list[RenderableType] = [
        Text(wording.one_line(report.title), style="bold"),
        _chosen(report),
        Padding(_weights_table(report.weights, report.roles, {"as good": _as_good(selection)}), (1, 0)),
    ]
    if report.anchor is not None:
        parts += [Text(choosing.anchored(report)), Text("")]
    if selection is not None:
        parts += [Text(choosing.in_brief(selection)), Text("")]
    by_block = block_weights(report)
    if by_block is not None:
        parts += [weight_map(by_block, console.width), Text("")]
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
