"""The tasks of a run: what is named for it, what its suite adds, each opened once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from embedmerge.errors import EmbedmergeError
from embedmerge.evaluation.named import NamedTask, TaskName, named
from embedmerge.evaluation.scores import SIDES
from embedmerge.evaluation.tasks import Task, open_tasks
from embedmerge.retrieval.collection import is_collection

if TYPE_CHECKING:
    from embedmerge.evaluation.scores import Side

Named = Mapping["Side", Sequence[str | NamedTask]]


class Sides(BaseModel):
    """Tasks of both sides.

    Attributes:
        target: Tasks of the target domain: mteb names, or collections with an optional `:split`.
        general: Tasks that stand for everything else.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    target: tuple[TaskName, ...] = ()
    general: tuple[TaskName, ...] = ()

    @property
    def by_side(self) -> dict[Side, tuple[str | NamedTask, ...]]:
        """Side -> its tasks."""
        return {"target": self.target, "general": self.general}


class Suite(Sides):
    """A suite file.

    Attributes:
        description: What it is, in a line.
        languages: Languages of those tasks that do not name theirs.
    """

    description: str = ""
    languages: tuple[str, ...] = ()

    def with_languages(self, languages: Sequence[str] = ()) -> Suite:
        """The same tasks, those that name no language in these, else in the suite's own."""
        wanted = tuple(languages) or self.languages
        if not wanted:
            return self
        spoken: dict[str, Any] = {
            side: tuple(
                entry if (entry := named(name)).languages else entry.model_copy(update={"languages": wanted})
                for name in names
            )
            for side, names in self.by_side.items()
        }
        return self.model_copy(update=spoken)


def bundled_suites() -> dict[str, Path]:
    """Name -> file of the suites that come with embedmerge.

    >>> list(bundled_suites())
    ['beir-small', 'local', 'mteb-en-retrieval', 'nano']
    """
    folder = Path(str(files("embedmerge.evaluation"))) / "suites"
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def open_sides(names: Named, data_dir: Path | None = None, suite: Sides | None = None) -> list[Task]:
    """Open the tasks of both sides, target ones first.

    What is named goes before the suite: a task that both have stands where it is named, and where a
    target is named, the suite's own target tasks count as general ones.

    Args:
        names: Side -> tasks.
        data_dir: Where a task that is no folder here is looked for before mteb is asked.
        suite: Further tasks.

    Raises:
        EmbedmergeError: A task cannot be opened, or is named twice.
    """
    opened = _Opened(data_dir)
    for side in SIDES:
        opened.add(names.get(side, ()), side)
    if suite is not None:
        stated = opened.names
        opened.add(suite.target, "general" if names.get("target") else "target", but=stated)
        opened.add(suite.general, "general", but=stated)
    return sorted(opened.tasks, key=lambda task: SIDES.index(task.side))


def in_data_dir(entry: NamedTask, data_dir: Path | None) -> list[NamedTask]:
    """The entry with the collection below `data_dir` where there is one; with all of them for a pattern.

    Raises:
        EmbedmergeError: A pattern fits no collection.
    """
    if Path(entry.task).expanduser().exists():
        return [entry]
    if not entry.is_pattern:
        below = data_dir is not None and (data_dir / entry.task).exists()
        return [entry.model_copy(update={"task": f"{data_dir}/{entry.task}"})] if below else [entry]
    if data_dir is None:
        msg = f"{entry.task}: collections of a data folder; name it with --data-dir or EMBEDMERGE_DATA"
        raise EmbedmergeError(msg)
    found = [path for path in sorted(data_dir.glob(entry.task)) if path.is_dir() and is_collection(path)]
    if not found:
        raise EmbedmergeError(f"{data_dir}: no collection in it that fits {entry.task!r}")
    return [entry.model_copy(update={"task": str(path)}) for path in found]


class _Opened:
    """Tasks, each once."""

    def __init__(self, data_dir: Path | None) -> None:
        self.tasks: list[Task] = []
        self._data_dir = data_dir

    @property
    def names(self) -> frozenset[tuple[str, str]]:
        return frozenset((task.name, task.split) for task in self.tasks)

    def add(
        self, names: Sequence[str | NamedTask], side: Side, but: frozenset[tuple[str, str]] = frozenset()
    ) -> None:
        """Open tasks but for some; a pattern leaves out what is there, a name may not repeat it."""
        for entry in map(named, names):
            for task in open_tasks(in_data_dir(entry, self._data_dir), side):
                key = (task.name, task.split)
                if key in self.names and key not in but and not entry.is_pattern:
                    where = f"{task.name}:{task.split}"
                    msg = f"{where}: named twice among the tasks; a task stands for one side, once"
                    raise EmbedmergeError(msg)
                if key not in self.names:
                    self.tasks.append(task)
