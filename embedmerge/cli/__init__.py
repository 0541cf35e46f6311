"""The command line: one file per command, heavy imports inside the commands."""

from __future__ import annotations

from typing import Annotated

import typer

from embedmerge import __version__
from embedmerge.cli import (
    cache,
    demo,
    evaluate,
    export,
    index,
    inspect,
    merge,
    methods,
    push,
    reindex_check,
    report,
    run,
    search,
    tasks,
    tune,
    verify,
    weigh,
)
from embedmerge.cli.group import Commands

app = typer.Typer(
    name="embedmerge",
    cls=Commands,
    help="Merge a fine-tuned retriever with its base and its peers, and see what was won and lost.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

for module, panel in (
    (run, "run"),
    (tune, "tune"),
    (merge, "merge"),
    (weigh, "weigh"),
    (evaluate, "evaluate"),
    (tasks, "tasks"),
    (index, "index"),
    (search, "search"),
    (reindex_check, "reindex-check"),
    (report, "report"),
    (inspect, "inspect"),
    (methods, "methods"),
    (verify, "verify"),
    (export, "export"),
    (push, "push"),
    (cache, "cache"),
    (demo, "demo"),
):
    app.command(panel)(module.command)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"embedmerge {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Options of every command; `Commands` reads them from the context."""


def main() -> None:
    """Entry point of the console script."""
    app()
