"""`embedmerge verify`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from embedmerge.cli.options import Json
from embedmerge.errors import EmbedmergeError

if TYPE_CHECKING:
    from embedmerge.verification import Replay, Verification

FAILED = 1
STYLES = {"ok": "green", "altered": "bold red", "missing": "bold red", "extra": "yellow"}


def command(
    folder: Annotated[Path, typer.Argument(help="A model that embedmerge has written.")],
    again: Annotated[
        bool, typer.Option("--replay", help="Merge again from the sources and compare bit for bit.")
    ] = False,
    source: Annotated[
        list[str],
        typer.Option("--source", help="Where a source lies now, NAME=PATH, for --replay; repeat."),
    ] = [],
    text: Annotated[
        Path | None,
        typer.Option("--text", help="The text that statistics came from, for --replay of fisher, regmean."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Hash every file of a merged model again and compare with its embedmerge.json.

    Exits with 0 where all is as recorded, with 1 where a file is altered, missing or extra or the merge
    gives other bits, and with 2 where that cannot be told.
    """
    from embedmerge.cli.console import Screen, print_json
    from embedmerge.verification import replay, verify

    for option, given in (("--source", source), ("--text", text)):
        if given and not again:
            raise EmbedmergeError(f"{option}: says nothing without --replay; give both")
    moved = _moved(source)
    with Screen(quiet=as_json) as screen:
        found = verify(folder, progress=screen.progress)
        replayed = replay(found, moved, texts=text, progress=screen.progress) if again else None
    if as_json:
        print_json(_as_json(found, replayed))
    else:
        _print(found, replayed)
    if not found.is_sound or (replayed and not replayed.is_same):
        raise typer.Exit(FAILED)


def _moved(given: list[str]) -> dict[str, str]:
    pairs = [text.partition("=") for text in given]
    for name, equals, path in pairs:
        if not name or not equals or not path:
            raise EmbedmergeError(f"--source {name}: must be NAME=PATH")
    return {name: path for name, _, path in pairs}


def _as_json(found: Verification, replayed: Replay | None) -> dict[str, Any]:
    manifest = found.manifest
    content: dict[str, Any] = {
        "model": str(found.folder),
        "tool": manifest.tool,
        "method": manifest.method,
        "weights": manifest.weights,
        "sound": found.is_sound,
        "files": found.states,
    }
    if replayed:
        compared = list(replayed.compared)
        content["replay"] = {
            "same": replayed.is_same,
            "difference": replayed.difference,
            "compared": compared,
        }
    return content


def _print(found: Verification, replayed: Replay | None) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column("state", no_wrap=True)
    table.add_column("file", overflow="fold")
    for place, state in found.states.items():
        table.add_row(f"[{STYLES[state]}]{state}[/]", escape(place))
    console.print(table)
    wrong = sum(state != "ok" for state in found.states.values())
    files = f"{len(found.states)} files"
    console.print(f"{files}, all as recorded" if not wrong else f"{wrong} of {files} not as recorded")
    if replayed is None:
        return
    if replayed.difference:
        console.print(f"[bold red]merged again, other bits[/]: {escape(replayed.difference)}")
    else:
        console.print(f"merged again, the same bits in {len(replayed.compared)} files")
