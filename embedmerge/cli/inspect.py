"""`embedmerge inspect`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from embedmerge.cli.options import Json, Normalise, Pooling

if TYPE_CHECKING:
    from rich.table import Table

    from embedmerge.api import Inspection


def command(
    sources: Annotated[
        list[str], typer.Argument(metavar="SOURCE...", help="Folders or hub ids, the base first.")
    ],
    quick: Annotated[
        bool, typer.Option("--quick", help="Compare what the files say; read no weights.")
    ] = False,
    ranks: Annotated[
        bool | None,
        typer.Option(
            "--ranks/--no-ranks", help="Effective ranks of the task vectors; else for models up to 1024 wide."
        ),
    ] = None,
    pooling: Pooling = None,
    normalise: Normalise = None,
    as_json: Json = False,
) -> None:
    """Say what each folder is, what tuning did to it, and whether they may be merged with the first one."""
    from embedmerge.api import inspect
    from embedmerge.cli.console import Screen, print_json

    with Screen(quiet=as_json) as screen:
        inspection = inspect(
            sources,
            weights=not quick,
            ranks=ranks,
            pooling=pooling,
            normalise=normalise,
            progress=screen.progress,
        )
    if as_json:
        print_json(_as_json(inspection))
    else:
        _print(inspection)


def _as_json(inspection: Inspection) -> dict[str, Any]:
    diagnosis = asdict(inspection.diagnosis) if inspection.diagnosis else None
    if diagnosis:
        del diagnosis["findings"]  # they are among the others
    return {
        "sources": list(inspection.sources),
        "mergeable": inspection.mergeable,
        "findings": [asdict(finding) for finding in inspection.findings],
        "diagnosis": diagnosis,
    }


def _print(inspection: Inspection) -> None:
    from rich.console import Console
    from rich.markup import escape

    from embedmerge.report.heatmap import heat_map

    console = Console()
    console.print(_facts(inspection))
    if inspection.diagnosis:
        console.print()
        console.print(heat_map(inspection.diagnosis, console.width))
        console.print()
    for finding in inspection.findings:
        style = "bold red" if finding.level == "error" else "yellow"
        console.print(f"[{style}]{finding.level}[/{style}] {escape(str(finding))}")
    if len(inspection.sources) > 1:
        console.print(_verdict(inspection))


def _verdict(inspection: Inspection) -> str:
    if not inspection.mergeable:
        return "These must not be merged."
    if inspection.diagnosis is None:
        return "These may be merged, as far as their files say; no weights were read."
    return "These may be merged."


def _facts(inspection: Inspection) -> Table:
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("", no_wrap=True)
    for facts in inspection.sources:
        table.add_column(escape(str(facts["source"]).rstrip("/").rsplit("/", 1)[-1]), overflow="fold")
    for key in inspection.sources[0]:
        if key != "source":
            first, *others = (escape(_shown(facts[key])) for facts in inspection.sources)
            same = ("[dim]same[/dim]" if shown == first else shown for shown in others)
            table.add_row(key.replace("_", " "), first, *same)
    return table


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}: {text!r}" for key, text in value.items()) or "none"
    if isinstance(value, list):
        return " > ".join(map(str, value))
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return {None: "not stated", True: "yes", False: "no"}.get(value, str(value))
