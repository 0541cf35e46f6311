"""`embedmerge inspect`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from embedmerge.cli.options import Json

if TYPE_CHECKING:
    from embedmerge.api import Inspection


def command(
    sources: Annotated[list[str], typer.Argument(metavar="SOURCE...", help="Folders or hub ids.")],
    as_json: Json = False,
) -> None:
    """Say what each folder is, and whether they may be merged with the first one."""
    from embedmerge.api import inspect
    from embedmerge.cli.console import print_json

    inspection = inspect(sources)
    if as_json:
        findings = [asdict(finding) for finding in inspection.findings]
        print_json(
            {"sources": list(inspection.sources), "mergeable": inspection.mergeable, "findings": findings}
        )
    else:
        _print(inspection)


def _print(inspection: Inspection) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("")
    for facts in inspection.sources:
        table.add_column(escape(str(facts["source"]).rstrip("/").rsplit("/", 1)[-1]), overflow="fold")
    for key in inspection.sources[0]:
        if key != "source":
            shown = [escape(_shown(facts[key])) for facts in inspection.sources]
            table.add_row(key.replace("_", " "), *shown)
    console.print(table)
    for finding in inspection.findings:
        style = "bold red" if finding.level == "error" else "yellow"
        console.print(f"[{style}]{finding.level}[/{style}] {escape(str(finding))}")
    if len(inspection.sources) > 1:
        console.print("These may be merged." if inspection.mergeable else "These must not be merged.")


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}: {text!r}" for key, text in value.items()) or "none"
    if isinstance(value, list):
        return " > ".join(map(str, value))
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return {None: "not stated", True: "yes", False: "no"}.get(value, str(value))
