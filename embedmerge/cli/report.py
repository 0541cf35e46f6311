"""`embedmerge report`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from embedmerge.cli.options import Json
from embedmerge.errors import EmbedmergeError

if TYPE_CHECKING:
    from embedmerge.report.document import Report

FORMATS = ("csv", "latex", "html", "json")


def command(
    run: Annotated[
        Path | None, typer.Argument(metavar="RUN", help="Run folder, or a report.json.", show_default=False)
    ] = None,
    form: Annotated[
        str | None,
        typer.Option("--format", help=f"{', '.join(FORMATS)}; the terminal's tables where left out."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="File to write; standard output where left out.")
    ] = None,
    schema: Annotated[bool, typer.Option("--schema", help="The JSON schema of report.json.")] = False,
    as_json: Json = False,
) -> None:
    """Show a finished run again, or write it as CSV, LaTeX, HTML or JSON."""
    form = "json" if as_json else form
    if form is not None and form not in FORMATS:
        raise EmbedmergeError(f"--format {form}: must be {', '.join(FORMATS)}")
    if schema:
        _put(_schema(), output)
        return
    if run is None:
        raise EmbedmergeError("RUN: name a run folder, such as the one that `embedmerge run` wrote")
    report = _read(run)
    if form is None and output is None:
        _print(report)
        return
    _put(_written(report, form or _by_name(output)), output)


def _read(run: Path) -> Report:
    from embedmerge.report.serialise import from_json

    path = run / "report.json" if run.is_dir() else run
    try:
        return from_json(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise EmbedmergeError(f"{path}: no such file; the run is not finished, or no run at all") from error
    except ValueError as error:
        raise EmbedmergeError(f"{path}: no report that can be read ({error})") from error


def _by_name(output: Path | None) -> str:
    """The format that a file's name stands for."""
    ending = output.suffix.lower().removeprefix(".") if output else ""
    form = {"tex": "latex", "htm": "html"}.get(ending, ending)
    if form not in FORMATS:
        raise EmbedmergeError(f"--output {output}: give --format too ({', '.join(FORMATS)})")
    return form


def _written(report: Report, form: str) -> str:
    if form == "json":
        from embedmerge.report.serialise import to_json

        return _as_text(to_json(report))
    if form == "html":
        from embedmerge.report.html import render_html

        return render_html(report)
    from embedmerge.report.tabular import to_csv, to_latex

    return to_csv(report) if form == "csv" else to_latex(report)


def _schema() -> str:
    from embedmerge.report.schema import json_schema

    return _as_text(json_schema())


def _as_text(content: object) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def _put(text: str, output: Path | None) -> None:
    from embedmerge.atomic import write_text

    if output is None:
        typer.echo(text, nl=False)
    else:
        write_text(output, text)


def _print(report: Report) -> None:
    from rich.console import Console

    from embedmerge.report.terminal import print_report

    print_report(report, Console())
