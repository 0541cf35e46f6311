from __future__ import annotations

import csv
import io
import re

import pytest

from embedmerge.errors import EmbedmergeError
from embedmerge.report import wording
from embedmerge.report.tabular import HEADERS, latex, to_csv, to_latex


def rows_of(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_csv_has_a_row_for_every_model_and_task(compared_report):
    comparison = compared_report.comparison
    rows = rows_of(to_csv(compared_report))
    assert list(rows[0]) == list(HEADERS)
    cells = [(task, model, cell) for task in comparison.tasks for model, cell in task.cells.items()]
    assert len(rows) == len(cells)
    for row, (task, model, cell) in zip(rows, cells, strict=True):
        assert (row["task"], row["side"], row["model"]) == (task.task, task.side, model)
        assert float(row["ndcg_at_10"]) == cell.ndcg_at_10
        assert row["role"] == wording.role(comparison, model)
        if cell.to_base is None:
            assert row["to_base_points"] == row["to_base_p_holm"] == ""
        else:
            assert float(row["to_base_p_holm"]) == cell.to_base.p_holm
            assert int(row["to_base_wins"]) == cell.to_base.wins


def table(text):
    lines = [line for line in text.splitlines() if line.endswith(r"\\")]
    return [[cell.strip() for cell in line.removesuffix(r"\\").split(" & ")] for line in lines]


def test_latex_has_a_row_for_every_task_and_the_means(make_report):
    report = make_report("usual")
    rows = {row[0]: row[1:] for row in table(to_latex(report))}
    assert next(iter(rows)) == "task"
    assert {task.task for task in report.comparison.tasks} < set(rows)
    assert len(rows["scifact"]) == len(report.comparison.models)
    means = [
        f"{report.comparison.means['general'][model].ndcg_at_10:.1f}" for model in report.comparison.models
    ]
    assert [re.search(r"\d+\.\d", cell).group() for cell in rows["mean"]] == means


def test_latex_marks_the_best_and_the_significant(make_report):
    comparison = make_report("many").comparison
    rows = {row[0]: row[1:] for row in table(to_latex(make_report("many")))}
    for task in comparison.tasks:
        best = max(round(cell.ndcg_at_10, 1) for cell in task.cells.values())
        for model, shown in zip(comparison.models, rows[latex(task.task)], strict=True):
            cell = task.cells[model]
            assert (r"\textbf" in shown) == (round(cell.ndcg_at_10, 1) == best)
            assert (r"{\dagger" in shown) == bool(cell.to_base and cell.to_base.is_significant)


def test_names_are_escaped(make_report):
    text = to_latex(make_report("awkward"))
    body = text[text.index(r"\toprule") : text.index(r"\bottomrule")]
    assert r"\textless{}img src=x onerror=alert(2)\textgreater{}" in body
    assert re.search(r"^\{\[\}bold\]", body, re.MULTILINE)  # not the length of a skip
    assert not re.search(r"(?<!\\)[%#]|\x1b", body)
    assert len({line.count(" & ") for line in body.splitlines() if " & " in line}) == 1
    assert text.count("{") == text.count("}")


def test_nothing_compared_is_one_line(make_report):
    for write in (to_csv, to_latex):
        with pytest.raises(EmbedmergeError, match="names no task"):
            write(make_report("no-comparison"))
