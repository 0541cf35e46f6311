"""`embedmerge index`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from embedmerge.cli.options import Json

if TYPE_CHECKING:
    from embedmerge.bundle import Indexed


def command(
    model: Annotated[
        str | None, typer.Argument(help="Folder or hub id; needed with a corpus.", show_default=False)
    ] = None,
    corpus: Annotated[
        Path | None,
        typer.Argument(
            help="BEIR folder, .jsonl or .parquet with id and text, text and Markdown files.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="The bundle: index, documents and manifest.")
    ] = None,
    append: Annotated[
        bool,
        typer.Option("--append", help="Take the corpus into a bundle: what is new, and what has changed."),
    ] = False,
    sync: Annotated[
        bool, typer.Option("--sync", help="As --append, and delete what the corpus has no more.")
    ] = False,
    delete: Annotated[
        list[str], typer.Option("--delete", help="Id of a document that is to go; repeat.")
    ] = [],
    delete_source: Annotated[
        list[str], typer.Option("--delete-source", help="A file whose documents are to go; repeat.")
    ] = [],
    index: Annotated[
        str | None,
        typer.Option(
            "--index",
            help="auto, exact, hnsw, ivf, sq8, ivf_sq8 or pq; auto is exact up to 2 GiB of vectors.",
        ),
    ] = None,
    effort: Annotated[
        int | None, typer.Option("--effort", help="What an approximate search looks at.", min=1)
    ] = None,
    chunk_tokens: Annotated[
        int | None,
        typer.Option(
            "--chunk-tokens",
            help="Cut documents into passages of so many of the model's tokens; 0 for whole documents. "
            "By default files are cut to what the model reads, and rows stay whole.",
            min=0,
        ),
    ] = None,
    chunk_overlap: Annotated[
        int | None, typer.Option("--chunk-overlap", help="Tokens repeated of the passage before.", min=0)
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option("--precision", help="fp32 (default), bf16, or auto: bf16 where it is native."),
    ] = None,
    max_seq_length: Annotated[
        int | None, typer.Option("--max-seq-length", help="Cut texts after so many tokens.", min=1)
    ] = None,
    query_prompt: Annotated[
        str | None, typer.Option("--query-prompt", help="Put before questions, in place of the model's own.")
    ] = None,
    document_prompt: Annotated[
        str | None,
        typer.Option("--document-prompt", help="Put before passages, in place of the model's own."),
    ] = None,
    encoding: Annotated[
        str | None, typer.Option("--encoding", help="Of text files that are no UTF-8, such as cp1252.")
    ] = None,
    layout: Annotated[
        list[str],
        typer.Option(
            "--layout",
            help="Add the files of langchain (a pickle), llama-index or haystack; none: no others. Repeat.",
        ),
    ] = [],
    as_json: Json = False,
) -> None:
    """Encode a corpus into a bundle that `embedmerge search` and RAG frameworks open; or change one."""
    from embedmerge.api import index as index_corpus
    from embedmerge.bundle import BundleSettings, Deletion
    from embedmerge.cli.console import Screen, print_json
    from embedmerge.errors import EmbedmergeError

    if output is None:
        raise EmbedmergeError("-o: say where the bundle is, or is to be")
    settings = BundleSettings(
        kind=index,  # type: ignore[arg-type]
        effort=effort,
        precision=precision,  # type: ignore[arg-type]
        max_seq_length=max_seq_length,
        query_prompt=query_prompt,
        document_prompt=document_prompt,
        chunk_tokens=chunk_tokens,
        chunk_overlap=chunk_overlap,
        layouts=tuple(layout),
        encoding=encoding,
    )
    deletion = Deletion(tuple(delete), tuple(delete_source), missing=sync)
    with Screen(quiet=as_json) as screen:
        done = index_corpus(
            model,
            corpus,
            output,
            append=append or sync,
            deletion=deletion,
            settings=settings,
            progress=screen.progress,
        )
    if as_json:
        print_json(_as_json(done))
    else:
        _print(done)


def _as_json(done: Indexed) -> dict[str, Any]:
    return {**asdict(done), "folder": str(done.folder), "notes": list(done.notes)}


def _print(done: Indexed) -> None:
    import sys

    for note in done.notes:
        sys.stderr.write(f"note: {note}\n")
    changes = ", ".join(
        f"{count:,} {what}"
        for count, what in (
            (done.added, "added"),
            (done.updated, "updated"),
            (done.removed, "removed"),
            (done.unchanged, "unchanged"),
        )
        if count
    )
    typer.echo(f"{done.folder}: {changes or 'no document has changed'}")
    known = f", {done.cached:,} known from before" if done.cached else ""
    typer.echo(
        f"{done.documents:,} documents, {done.passages:,} passages ({done.chunking}), {done.kind} index; "
        f"{done.encoded:,} encoded{known}"
    )
    if done.layouts:
        typer.echo(f"with the files of {', '.join(done.layouts)}")
