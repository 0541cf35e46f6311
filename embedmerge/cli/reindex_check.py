"""`embedmerge reindex-check`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from embedmerge.cli.options import DataDir, Devices, Json, MaxLength, Precision


def command(
    old: Annotated[str, typer.Argument(metavar="OLD", help="Model that built the index: folder or hub id.")],
    new: Annotated[str, typer.Argument(metavar="NEW", help="Model that is to take its place.")],
    corpus: Annotated[
        str,
        typer.Argument(
            metavar="CORPUS", help="Collection or mteb task, with :split; documents alone with --queries."
        ),
    ],
    queries: Annotated[
        Path | None,
        typer.Option("--queries", help="What your users ask, one line each, where nothing is judged."),
    ] = None,
    margin: Annotated[
        float | None,
        typer.Option(
            "--margin",
            help="Points of nDCG@10 that may be lost: 0.5 by default, 5 where nothing is judged.",
            min=0,
        ),
    ] = None,
    documents: Annotated[
        int, typer.Option("--documents", help="Documents to look at; a sample of more.", min=10)
    ] = 20_000,
    most_queries: Annotated[
        int, typer.Option("--most-queries", help="Queries to ask; a sample of more.", min=1)
    ] = 2000,
    precision: Precision = "fp32",
    device: Devices = [],
    max_seq_length: MaxLength = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Say whether an index that OLD built can stay when NEW encodes the queries."""
    from embedmerge.api import reindex_check
    from embedmerge.cli.console import Screen, print_json
    from embedmerge.cli.options import encoding

    with Screen(quiet=as_json) as screen:
        found = reindex_check(
            old,
            new,
            corpus,
            queries=queries,
            margin=margin,
            documents=documents,
            most_queries=most_queries,
            settings=encoding(precision, max_seq_length, devices=device),
            data_dir=data_dir,
            progress=screen.progress,
        )
    if as_json:
        print_json(found.facts)
        return
    from rich.console import Console

    from embedmerge.report.reindexing import reindexing_answer, reindexing_table

    console = Console(highlight=False)
    console.print(reindexing_table(found))
    console.print()
    console.print(reindexing_answer(found))
