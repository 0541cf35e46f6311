"""A comparison as a table for other programs: CSV, and LaTeX for papers."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from embedmerge.errors import EmbedmergeError
from embedmerge.report import wording
from embedmerge.report.templating import environment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from embedmerge.evaluation.compare import Cell, Comparison
    from embedmerge.evaluation.significance import Difference
    from embedmerge.report.document import Report

REFERENCES: tuple[wording.Reference, ...] = ("base", "fine-tune")
TESTED = ("points", "low", "high", "p", "p_holm", "wins", "ties", "losses")
HEADERS = (
    *("task", "split", "side", "queries", "model", "role", "ndcg_at_10", "recall_at_100"),
    *(f"to_{reference.replace('-', '_')}_{name}" for reference in REFERENCES for name in TESTED),
)
_LATEX = str.maketrans(
    {
        **{letter: f"\\{letter}" for letter in "&%$#_{}"},
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        # Behind a line's end these would be taken for its options.
        "[": "{[}",
        "*": "{*}",
    }
)


def to_csv(report: Report) -> str:
    """One row for each model on each task, a header first.

    Args:
        report: The run.

    Raises:
        EmbedmergeError: It compares nothing.
    """
    comparison, text = _compared(report), io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(HEADERS)
    for task in comparison.tasks:
        for model, cell in task.cells.items():
            facts = (task.task, task.split, task.side, task.queries, model, wording.role(comparison, model))
            tested = [_tested(wording.to_reference(cell, reference)) for reference in REFERENCES]
            rows.writerow([*facts, cell.ndcg_at_10, cell.recall_at_100, *tested[0], *tested[1]])
    return text.getvalue()


def _tested(value: Difference | None) -> list[Any]:
    return ["" if value is None else getattr(value, name) for name in TESTED]


@dataclass(frozen=True)
class _Row:
    """A row of the LaTeX table: a task, or the mean of a side."""

    name: str
    cells: tuple[str, ...]


def to_latex(report: Report) -> str:
    """A table of nDCG@10 with a row for each task and a column for each model; needs `booktabs`.

    The best of each row is bold. Daggers stand where a model is significantly different from the base, double
    daggers where it is from the fine-tune: by the paired randomisation test at 0.05, after Holm's correction
    over the tasks.

    Args:
        report: The run.

    Raises:
        EmbedmergeError: It compares nothing.
    """
    comparison = _compared(report)
    made = environment(autoescape=False)
    made.filters["latex"] = latex
    sides = {side: list(_rows(comparison, side)) for side in wording.sides(comparison)}
    template = made.get_template("table.tex.j2")
    return template.render(report=report, comparison=comparison, sides=sides, roles=_roles(comparison))


def latex(text: str) -> str:
    r"""A name as LaTeX shows it.

    >>> print(latex("a_b & 50 % <c>"))
    a\_b \& 50 \% \textless{}c\textgreater{}
    """
    return wording.one_line(text).translate(_LATEX)


def _compared(report: Report) -> Comparison:
    if report.comparison is None:
        raise EmbedmergeError("the run compares nothing, for its recipe names no task; there is no table")
    return report.comparison


def _roles(comparison: Comparison) -> dict[str, str]:
    return {model: wording.role(comparison, model) for model in comparison.models}


def _rows(comparison: Comparison, side: str) -> Iterator[_Row]:
    own = [task for task in comparison.tasks if task.side == side]
    for task in own:
        yield _Row(task.task, _cells(comparison, task.cells))
    if len(own) > 1:
        yield _Row("", _cells(comparison, comparison.means[own[0].side]))


def _cells(comparison: Comparison, cells: dict[str, Cell]) -> tuple[str, ...]:
    best = max(round(cell.ndcg_at_10, 1) for cell in cells.values())
    return tuple(_cell(cells.get(model), best) for model in comparison.models)


def _cell(cell: Cell | None, best: float) -> str:
    if cell is None:
        return "--"
    number = f"{cell.ndcg_at_10:.1f}"
    shown = rf"\textbf{{{number}}}" if round(cell.ndcg_at_10, 1) == best else number
    signs = [
        sign
        for sign, value in ((r"\dagger", cell.to_base), (r"\ddagger", cell.to_fine_tune))
        if value is not None and value.is_significant
    ]
    return shown + (rf"\rlap{{$^{{{''.join(signs)}}}$}}" if signs else "")
