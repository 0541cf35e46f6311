"""`embedmerge demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from embedmerge.cli.options import Json


def command(
    output: Annotated[Path, typer.Option("-o", "--output", help="Run folder.")] = Path("embedmerge-demo"),
    fresh: Annotated[bool, typer.Option("--fresh", help="Start over instead of going on.")] = False,
    as_json: Json = False,
) -> None:
    """Run the whole job on an embedded example: no hub, no data, only what is installed.

    A MiniLM is tuned on torch's documentation, and another on scipy's; then they are merged.
    """
    from embedmerge.cli.console import Screen, print_json

    with Screen(quiet=as_json) as screen:
        screen.stage("loading libraries")
        from embedmerge.demo import run_demo, search_lines

        report, assets = run_demo(output, screen, fresh=fresh)
    if as_json:
        from embedmerge.report.serialise import to_json

        print_json(to_json(report))
        return
    from rich.console import Console

    from embedmerge.report.terminal import print_report

    print_report(report, Console())
    typer.echo(f"\nmodel   {output / 'model'}\nreport  {output / 'report.html'}\n")
    typer.echo(search_lines(output, assets))
