"""`embedmerge push`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from embedmerge.cli.options import Json

if TYPE_CHECKING:
    from embedmerge.exporting.upload import Upload


def command(
    folder: Annotated[Path, typer.Argument(metavar="MODEL", help="A model that embedmerge has written.")],
    repo_id: Annotated[str, typer.Argument(metavar="REPO_ID", help="Where to, such as me/legal-retriever.")],
    yes: Annotated[
        bool, typer.Option("--yes", help="Upload. Without it nothing leaves this machine.")
    ] = False,
    public: Annotated[
        bool, typer.Option("--public", help="Let everybody see a repository made for it; else it is private.")
    ] = False,
    revision: Annotated[
        str | None, typer.Option("--revision", help="Branch; made where there is none. main where left out.")
    ] = None,
    message: Annotated[str | None, typer.Option("--message", help="Message of the commit.")] = None,
    create_pr: Annotated[
        bool, typer.Option("--create-pr", help="Open a pull request in place of a commit.")
    ] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Remove files of the repository that this model has not.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Upload a merged model to the Hugging Face Hub; without --yes, say what would be uploaded.

    Every file is checked against embedmerge.json before, and compared with what arrived after.
    """
    from embedmerge.api import push
    from embedmerge.cli.console import Screen, print_json

    with Screen(quiet=as_json) as screen:
        found = push(
            folder,
            repo_id,
            yes=yes,
            private=not public,
            revision=revision,
            message=message,
            create_pr=create_pr,
            replace=replace,
            progress=screen.progress,
        )
    if as_json:
        print_json(found.facts)
    else:
        _print(found)


def _print(found: Upload) -> None:
    from rich.console import Console
    from rich.filesize import decimal
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column("file", overflow="fold")
    table.add_column("size", justify="right", no_wrap=True)
    for place, size in found.files.items():
        table.add_row(escape(place), decimal(size))
    console.print(table)
    for note in found.notes:
        console.print(f"[yellow]note[/]: {escape(note)}")
    total = decimal(sum(found.files.values()))
    what = f"{len(found.files)} files, {total}, all as in embedmerge.json"
    if found.url:
        console.print(f"{what}, uploaded: {escape(found.url)}")
        return
    kind = "private" if found.private else "public"
    where = f"{found.repo_id}, branch {found.revision}, made {kind} where there is none"
    console.print(f"{what}, would go to {escape(where)}. Nothing was uploaded; --yes uploads.")
