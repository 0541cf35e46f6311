"""The tasks of a run: what the recipe names, what its suite adds, each opened once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from embedmerge.errors import EmbedmergeError
from embedmerge.evaluation.compare import SIDES
from embedmerge.evaluation.tasks import Task, open_tasks

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from embedmerge.evaluation.compare import Side


def open_sides(names: Mapping[Side, Sequence[str]], data_dir: Path | None = None) -> list[Task]:
    """Open the tasks of both sides, target ones first.

    Args:
        names: Side -> task names.
        data_dir: Where a task that is no folder here is looked for before mteb is asked.

    Raises:
        EmbedmergeError: A task cannot be opened, or is named twice.
    """
    tasks = [
        task
        for side in SIDES
        for task in open_tasks([in_data_dir(name, data_dir) for name in names.get(side, ())], side)
    ]
    seen: set[tuple[str, str]] = set()
    for task in tasks:
        if (task.name, task.split) in seen:
            msg = f"{task.name}:{task.split}: named twice among the tasks; a task stands for one side, once"
            raise EmbedmergeError(msg)
        seen.add((task.name, task.split))
    return tasks


def in_data_dir(name: str, data_dir: Path | None) -> str:
    """The task's folder below `data_dir` where there is one, else the name as it is."""
    folder = name.rpartition(":")[0] or name
    if data_dir is None or Path(name).exists() or Path(folder).exists():
        return name
    below = any((data_dir / candidate).is_dir() for candidate in (name, folder))
    return str(data_dir / name) if below else name
