"""What can be evaluated here and now: suites, local collections, and mteb tasks whose data is at hand."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedmerge.errors import EmbedmergeError
from embedmerge.evaluation.hub import mteb_tasks, split_of
from embedmerge.evaluation.named import named
from embedmerge.evaluation.offline import fetch_command, is_cached
from embedmerge.evaluation.scores import SIDES
from embedmerge.evaluation.suites import in_data_dir
from embedmerge.retrieval.collection import Survey, is_collection, survey

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from embedmerge.evaluation.named import NamedTask
    from embedmerge.evaluation.scores import Side
    from embedmerge.evaluation.suites import Suite

    Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class HubTask:
    """An mteb task of a suite.

    Attributes:
        suite: The suite.
        side: Its side in the suite.
        name: mteb's name.
        split: Split that is scored.
        dataset: Data set on the hub.
        revision: Its revision.
        cached: Whether the data is here.
        fetch: What brings it where there is a network.
    """

    suite: str
    side: Side
    name: str
    split: str
    dataset: str
    revision: str
    cached: bool
    fetch: str


@dataclass(frozen=True)
class LocalTask:
    """A local collection, or what a suite names and is not one.

    Attributes:
        name: Its name.
        path: Where it is.
        suites: Suite -> side, for those that name it.
        survey: What it holds; None where it cannot be read.
        fault: Why it cannot be read.
    """

    name: str
    path: Path
    suites: dict[str, Side]
    survey: Survey | None = None
    fault: str | None = None


@dataclass(frozen=True)
class Listing:
    """All of it.

    Attributes:
        suites: Name -> suite.
        local: Local collections.
        hub: mteb tasks, suite by suite.
    """

    suites: dict[str, Suite]
    local: tuple[LocalTask, ...]
    hub: tuple[HubTask, ...]


def list_tasks(
    suites: Mapping[str, Suite],
    data_dir: Path | None = None,
    *,
    all_local: bool = True,
    progress: Progress | None = None,
) -> Listing:
    """Look at what the suites name, and at the collections below the data folder.

    Args:
        suites: Name -> suite.
        data_dir: Folder of local collections.
        all_local: Whether collections are listed that no suite names.
        progress: Called with a label, collections read and collections in all.

    Raises:
        EmbedmergeError: `data_dir` is no folder, or a suite names an mteb task that does not exist.
    """
    if data_dir is not None and not data_dir.is_dir():
        raise EmbedmergeError(f"{data_dir}: no such folder; --data-dir names one that holds collections")
    places: dict[Path, dict[str, Side]] = {}
    hub: list[HubTask] = []
    for suite, side, entry in _entries(suites):
        for found in _located(entry, data_dir):
            path = Path(found.task).expanduser()
            if path.exists():
                places.setdefault(path, {})[suite] = side
            else:
                tasks = mteb_tasks(found.task, found.languages)
                hub += [_hub_task(task, found, suite, side) for task in tasks]
    if all_local and data_dir is not None:
        for path in filter(is_collection, data_dir.iterdir()):
            places.setdefault(path, {})
    return Listing(dict(suites), tuple(_surveyed(places, progress)), tuple(hub))


def _surveyed(places: Mapping[Path, dict[str, Side]], progress: Progress | None) -> Iterator[LocalTask]:
    for number, path in enumerate(sorted(places), 1):
        yield _local_task(path, places[path])
        if progress:
            progress("reading collections", number, len(places))


def _entries(suites: Mapping[str, Suite]) -> Iterator[tuple[str, Side, NamedTask]]:
    for name, suite in suites.items():
        for side in SIDES:
            for entry in suite.by_side[side]:
                yield name, side, named(entry)


def _located(entry: NamedTask, data_dir: Path | None) -> list[NamedTask]:
    """As a run would find it; a pattern that fits nothing is simply not here."""
    try:
        return in_data_dir(entry, data_dir)
    except EmbedmergeError:
        return []


def _hub_task(task: Any, entry: NamedTask, suite: str, side: Side) -> HubTask:
    dataset = task.metadata.dataset
    return HubTask(
        suite,
        side,
        task.metadata.name,
        split_of(task, entry.split),
        dataset["path"],
        dataset["revision"],
        is_cached(task),
        fetch_command(task),
    )


def _local_task(path: Path, sides: dict[str, Side]) -> LocalTask:
    try:
        found = survey(path)
    except EmbedmergeError as error:
        return LocalTask(path.name, path, sides, fault=str(error))
    return LocalTask(found.name, path, sides, found)
