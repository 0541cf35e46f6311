from __future__ import annotations

import json

import pytest
import typer
from typer.testing import CliRunner

from embedmerge.atomic import write_json
from embedmerge.cli import report as reporting
from embedmerge.cli.group import Commands
from embedmerge.report.html import render_html
from embedmerge.report.schema import json_schema
from embedmerge.report.serialise import from_json, to_json
from embedmerge.report.tabular import to_csv, to_latex


def called(*arguments):
    app = typer.Typer(cls=Commands, rich_markup_mode=None)
    app.command("report")(reporting.command)
    app.callback()(lambda: None)
    result = CliRunner().invoke(app, ["report", *map(str, arguments)], env={"COLUMNS": "100"})
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def run(make_chosen, tmp_path):
    """A run folder and its report."""
    report = make_chosen("controlled")
    write_json(tmp_path / "report.json", to_json(report))
    return tmp_path, report


def test_formats_on_standard_output(run):
    folder, report = run
    assert called(folder, "--format", "csv") == (0, to_csv(report), "")
    assert called(folder / "report.json", "--format", "latex") == (0, to_latex(report), "")
    code, out, _ = called(folder, "--json")
    assert (code, json.loads(out)) == (0, to_json(report))
    code, out, _ = called(folder)
    assert code == 0
    assert "Verdict" in out


@pytest.mark.parametrize("name", ["table.tex", "table.csv", "page.html"])
def test_a_file_is_written_as_its_name_says(run, name):
    folder, report = run
    assert called(folder, "-o", folder / name) == (0, "", "")
    report = from_json(to_json(report))  # floats are rounded when they are written
    expected = {"tex": to_latex, "csv": to_csv, "html": render_html}[name.rsplit(".")[1]](report)
    assert (folder / name).read_text(encoding="utf-8") == expected


def test_the_schema_needs_no_run():
    code, out, _ = called("--schema")
    assert (code, json.loads(out)) == (0, json_schema())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "RUN: name a run folder"),
        (("nowhere",), "nowhere: no such file"),
        (("{run}", "--format", "pdf"), "--format pdf: must be csv, latex, html, json"),
        (("{run}", "-o", "table.xlsx"), "give --format too"),
    ],
)
def test_bad_input_is_one_line(run, tmp_path, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    code, out, error = called(*(each.replace("{run}", str(run[0])) for each in arguments))
    assert (code, out) == (2, "")
    assert said in " ".join(error.split())
    assert len(error.splitlines()) == 1


def test_a_broken_file_is_named(tmp_path):
    (tmp_path / "report.json").write_text("{")
    code, _, error = called(tmp_path)
    assert code == 2
    assert "no report that can be read" in error
