"""`embedmerge tasks`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from embedmerge.cli.options import DataDir, Json

if TYPE_CHECKING:
    from rich.console import Console

    from embedmerge.evaluation.listing import Listing, LocalTask


def command(
    suite: Annotated[
        str | None, typer.Option("--suite", help="One suite, by name or YAML file, to see its tasks.")
    ] = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """List what can be evaluated here and now: suites, local collections, mteb tasks in the cache."""
    from embedmerge.cli.console import Screen, print_json
    from embedmerge.evaluation.listing import list_tasks
    from embedmerge.evaluation.suites import bundled_suites
    from embedmerge.recipe import read_suite

    names = [suite] if suite else bundled_suites()
    suites = {
        Path(name).stem if name.endswith((".yaml", ".yml")) else name: read_suite(name) for name in names
    }
    with Screen(quiet=as_json) as screen:
        listing = list_tasks(suites, data_dir, all_local=suite is None, progress=screen.progress)
    if as_json:
        print_json(_as_json(listing))
        return
    from rich.console import Console

    _print(listing, Console(highlight=False), one=suite is not None)


def _as_json(listing: Listing) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "suites": {name: suite.model_dump(mode="json") for name, suite in listing.suites.items()},
        "collections": [_collection_as_json(task) for task in listing.local],
        "mteb": [asdict(task) for task in listing.hub],
    }


def _collection_as_json(task: LocalTask) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "name": task.name,
        "path": str(task.path),
        "suites": task.suites,
        "layout": task.survey.layout if task.survey else None,
        "splits": [asdict(split) for split in task.survey.splits] if task.survey else [],
        "fault": task.fault,
    }


def _print(listing: Listing, console: Console, *, one: bool) -> None:
    _print_suites(listing, console)
    if listing.local:
        console.print()
        _print_collections(listing, console)
    elif any(suite.by_side["general"] == ("*",) for suite in listing.suites.values()):
        console.print("\nno local collections: name a folder of them with --data-dir or EMBEDMERGE_DATA")
    if listing.hub:
        console.print()
        _print_hub(listing, console)
    if missing := {task.dataset: task.fetch for task in listing.hub if not task.cached}:
        if one:
            console.print("\nwhere there is a network, then bring the hub's cache:")
            for fetch in missing.values():
                console.print(f"  {fetch}", soft_wrap=True)
        else:
            console.print("\n`embedmerge tasks --suite NAME` says how to fetch what is missing.")


def _table(*columns: tuple[str, dict[str, Any]]) -> Any:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for name, settings in columns:
        table.add_column(name, **settings)
    return table


NUMBER: dict[str, Any] = {"justify": "right", "no_wrap": True}
WORD: dict[str, Any] = {"no_wrap": True}
TEXT: dict[str, Any] = {"ratio": 1, "overflow": "fold"}


def _print_suites(listing: Listing, console: Console) -> None:
    from rich.markup import escape

    table = _table(("suite", WORD), ("target", NUMBER), ("general", NUMBER), ("here", NUMBER), ("", TEXT))
    for name, suite in listing.suites.items():
        hub = [task for task in listing.hub if task.suite == name]
        local = [task for task in listing.local if name in task.suites]
        sides = [task.side for task in hub] + [task.suites[name] for task in local]
        here = sum(task.cached for task in hub) + sum(task.survey is not None for task in local)
        counts = (sides.count("target"), sides.count("general"), f"{here} of {len(sides)}")
        table.add_row(escape(name), *map(str, counts), escape(suite.description))
    console.print(table)


def _print_collections(listing: Listing, console: Console) -> None:
    from rich.markup import escape

    counts = (("documents", NUMBER), ("split", WORD), ("queries", NUMBER), ("judged", NUMBER))
    table = _table(("collection", WORD), ("form", WORD), *counts)
    notes = []
    for task in listing.local:
        last = ("", "", "")
        for split in task.survey.splits if task.survey else ():
            head = (escape(task.name), task.survey.layout if task.survey else "", f"{split.documents:,}")
            shown = ("", "", "") if head == last else head
            table.add_row(*shown, escape(split.split), f"{split.queries:,}", f"{split.judged:,}")
            notes += [f"{task.name}:{split.split}: ranks candidate lists"] * split.candidates + [*split.notes]
            last = head
    console.print(table)
    for note in notes:
        console.print(escape(note))
    for task in listing.local:
        if task.fault:  # a path in it is to be copied whole
            console.print(f"cannot be read: {escape(task.fault)}", soft_wrap=True)


def _print_hub(listing: Listing, console: Console) -> None:
    from rich.markup import escape

    table = _table(("mteb task", WORD), ("split", WORD), ("suite", WORD), ("side", WORD), ("here", WORD))
    for task in listing.hub:
        table.add_row(
            escape(task.name), task.split, escape(task.suite), task.side, "yes" if task.cached else "no"
        )
    console.print(table)
