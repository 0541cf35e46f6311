"""`embedmerge search`."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from embedmerge.cli.options import Json

if TYPE_CHECKING:
    from rich.table import Table

    from embedmerge.bundle import Answer, Hit

SHOWN = 280  # characters of a passage; --full shows all
PROSE_LINE = re.compile(r"\n(?=[^\W\d]|[(\"'`])")


def command(
    bundle: Annotated[Path, typer.Argument(help="What `embedmerge index` made.")],
    questions: Annotated[
        list[str], typer.Argument(metavar="QUESTION...", help="What to look for.", show_default=False)
    ] = [],
    file: Annotated[
        Path | None,
        typer.Option("--file", help="A file with one question in each line; - for standard input."),
    ] = None,
    k: Annotated[int, typer.Option("-k", help="Passages for each question.", min=1)] = 5,
    model: Annotated[
        str | None, typer.Option("--model", help="Where the model lies, if not where it lay.")
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="Show passages whole.")] = False,
    as_json: Json = False,
) -> None:
    """Print the passages of a bundle that answer questions, best first, with their scores."""
    from embedmerge.api import search
    from embedmerge.cli.console import Screen, print_json

    asked = [*questions, *_lines(file)]
    with Screen(quiet=True):
        answers = search(bundle, asked, k=k, model=model)
    if as_json:
        print_json([_as_json(answer) for answer in answers])
    else:
        _print(answers, full)


def _lines(file: Path | None) -> list[str]:
    from embedmerge.retrieval.query_lines import query_lines, read_query_lines

    if file is None:
        return []
    return query_lines(sys.stdin.read()) if str(file) == "-" else read_query_lines(file)


def _as_json(answer: Answer) -> dict[str, Any]:
    return {"question": answer.question, "hits": [_row(hit) for hit in answer.hits]}


def _row(hit: Hit) -> dict[str, Any]:
    passage = hit.passage
    return {
        "rank": hit.rank,
        "score": hit.score,
        "id": passage.id,
        "document": passage.document,
        "title": passage.title,
        "text": passage.text,
        "source": passage.source,
        "start": passage.start,
        "end": passage.end,
    }


def _print(answers: list[Answer], full: bool) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    for number, answer in enumerate(answers):
        if number:
            console.print()
        console.print(Text(answer.question, style="bold"))
        console.print(_table(answer, full))


def _table(answer: Answer, full: bool) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_lines=False, expand=True)
    table.add_column("", justify="right", no_wrap=True)
    table.add_column("score", justify="right", no_wrap=True)
    table.add_column("passage", ratio=1, overflow="fold")
    for hit in answer.hits:
        table.add_row(
            str(hit.rank), f"{hit.score:.4f}", _shown(hit, full), end_section=hit is not answer.hits[-1]
        )
    return table


def _shown(hit: Hit, full: bool) -> Any:
    from rich.text import Text

    passage = hit.passage
    where = passage.id if passage.source in passage.id else f"{passage.id}  {passage.source}"
    shown = Text(f"{where}\n", style="dim")
    if passage.title:
        shown.append(f"{passage.title}\n", style="not dim bold")
    shown.append(passage.text if full else _beginning(passage.text), style="not dim")
    return shown


def _beginning(text: str) -> str:
    """The first words; lines of prose are joined, those of lists, tables and code are left."""
    paragraphs = (block.strip("\n") for block in re.split(r"\n\s*\n", text))
    shown = "\n".join(PROSE_LINE.sub(" ", block) for block in paragraphs)
    return shown if len(shown) <= SHOWN else shown[:SHOWN].rsplit(maxsplit=1)[0] + " …"
