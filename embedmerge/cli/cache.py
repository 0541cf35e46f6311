"""`embedmerge cache`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from embedmerge.cli.options import Json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from embedmerge.retrieval.cache import EmbeddingCache, Entry

DAY = 86_400
DIGITS = 12  # of a digest, as it is shown


def command(
    action: Annotated[str, typer.Argument(help="list, or prune.")] = "list",
    max_size: Annotated[
        str | None, typer.Option("--max-size", help="Prune the longest unused until so much is left: 5GB.")
    ] = None,
    older_than: Annotated[
        float | None, typer.Option("--older-than", help="Prune what was not used for so many days.", min=0)
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", help="Prune one model, by its name or the start of its digest.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show what embeddings are kept and how large they are, or prune them."""
    from embedmerge.cli.console import print_json
    from embedmerge.errors import EmbedmergeError
    from embedmerge.retrieval.cache import EmbeddingCache

    cache = EmbeddingCache.of_user()
    asked = (max_size, older_than, model) != (None, None, None)
    if action not in ("list", "prune"):
        raise EmbedmergeError(f"cache {action}: must be list or prune")
    if action == "list":
        if asked:
            raise EmbedmergeError("cache list: --max-size, --older-than and --model belong to `cache prune`")
        entries, what = cache.entries(), "kept"
    else:
        if not asked:
            raise EmbedmergeError("cache prune: say --max-size, --older-than or --model")
        entries, what = (
            cache.prune(
                max_bytes=None if max_size is None else _bytes(max_size),
                older_than=None if older_than is None else older_than * DAY,
                model=model,
            ),
            "removed",
        )
    if as_json:
        print_json(_as_json(cache, entries, what))
    else:
        _print(cache, entries, what)


def _bytes(size: str) -> int:
    from pydantic import ByteSize, TypeAdapter, ValidationError

    from embedmerge.errors import EmbedmergeError

    try:
        return int(TypeAdapter(ByteSize).validate_python(size))
    except ValidationError as error:
        raise EmbedmergeError(f"--max-size {size}: must be a size such as 500MB or 5GB") from error


def _as_json(cache: EmbeddingCache, entries: Sequence[Entry], what: str) -> dict[str, Any]:
    from dataclasses import asdict

    return {"folder": str(cache.folder), "bytes": cache.size(), what: [asdict(entry) for entry in entries]}


def _print(cache: EmbeddingCache, entries: Sequence[Entry], what: str) -> None:
    from datetime import datetime

    from rich.console import Console
    from rich.filesize import decimal
    from rich.markup import escape
    from rich.table import Table

    console = Console(highlight=False)
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("model", overflow="fold")
    table.add_column("digest", no_wrap=True)
    for name in ("texts", "size"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("last used", no_wrap=True)
    for entry in entries:
        texts = "damaged" if entry.texts is None else f"{entry.texts:,}"
        used = datetime.fromtimestamp(entry.used).strftime("%Y-%m-%d %H:%M")
        table.add_row(escape(entry.name), entry.model[:DIGITS], texts, decimal(entry.bytes), used)
    if entries:
        console.print(table)
    total = sum(entry.bytes for entry in entries)
    number = f"{len(entries)} model{'' if len(entries) == 1 else 's'}"
    left = f"; {decimal(cache.size())} left" if what == "removed" else ""
    console.print(f"{what}: {number}, {decimal(total)}{left}, in {escape(str(cache.folder))}", soft_wrap=True)
