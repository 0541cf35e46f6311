"""`embedmerge demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    output: Annotated[Path, typer.Option("-o", "--output", help="Run folder.")] = Path("embedmerge-demo"),
    fresh: Annotated[bool, typer.Option("--fresh", help="Start over instead of going on.")] = False,
) -> None:
    """Run the whole job on an embedded example: no hub, no data, only what is installed.

    A MiniLM is tuned on torch's documentation, and another on scipy's; then they are merged.
    """
    from embedmerge.cli.console import Screen

    with Screen() as screen:
        screen.stage("loading libraries")
        from embedmerge.demo import run_demo, search_lines

        report, assets = run_demo(output, screen, fresh=fresh)
    from rich.console import Console

    from embedmerge.report.terminal import print_report

    print_report(report, Console())
    typer.echo(f"\nmodel   {output / 'model'}\nreport  {output / 'report.html'}\n")
    typer.echo(search_lines(output, assets))
