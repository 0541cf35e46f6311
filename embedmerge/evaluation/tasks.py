"""From a task's name or folder to an mteb retrieval task."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedmerge.errors import EmbedmergeError
from embedmerge.evaluation.hub import dataset_of, mteb_tasks, split_of
from embedmerge.evaluation.local import mteb_task_of
from embedmerge.evaluation.named import NamedTask, named
from embedmerge.evaluation.offline import with_cached_data
from embedmerge.evaluation.texts import TaskTexts
from embedmerge.retrieval.collection import read_collection

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from embedmerge.evaluation.scores import Side


@dataclass(frozen=True)
class Task:
    """One retrieval task on one split, ready to be run.

    Attributes:
        name: Name in tables; where languages were asked for, with mteb's subsets: `MIRACLRetrieval[de]`.
        split: Split of the qrels.
        side: Whether it stands for the target domain or for general retrieval.
        mteb_task: The mteb task object.
        content: What the scores depend on besides model, prompts and settings.
        notes: What was left out of the data and why.
        queries: Its queries, where they are known before the task is run.
        prompts: What is put before texts in place of the model's own prompts: `query`, `document` or both.
    """

    name: str
    split: str
    side: Side
    mteb_task: Any
    content: str
    notes: tuple[str, ...] = ()
    queries: tuple[str, ...] = ()
    prompts: dict[str, str] | None = None

    @cached_property
    def texts(self) -> TaskTexts:
        """Query id -> text and document id -> text; loads the data where it is not loaded."""
        return TaskTexts.of(self.mteb_task, self.split)


def texts_of(tasks: Sequence[Task]) -> Callable[[str, str], TaskTexts]:
    """What gives a task's texts from its name and split."""
    by_name = {(task.name, task.split): task for task in tasks}
    return lambda task, split: by_name[task, split].texts


def open_tasks(names: Sequence[str | NamedTask], side: Side) -> list[Task]:
    """Tasks by mteb name, mteb benchmark name, or collection, optionally with `[languages]` and `:split`.

    A collection is read and checked here; a hub task is downloaded when it is run.

    Raises:
        EmbedmergeError: No such task, benchmark or folder, or a folder that is not a collection.
    """
    return [task for name in names for task in _open(named(name), side)]


def _open(entry: NamedTask, side: Side) -> list[Task]:
    path = Path(entry.task).expanduser()
    if path.exists():
        return [_local_task(path, entry, side)]
    if _looks_like_path(entry.task):
        msg = f"{entry.task}: no such folder; a task is an mteb name or a collection, optionally with :split"
        raise EmbedmergeError(msg)
    return [_hub_task(task, entry, side) for task in mteb_tasks(entry.task, entry.languages)]


def _looks_like_path(name: str) -> bool:
    return name.startswith((".", "~")) or "/" in name or "\\" in name or name.endswith((".jsonl", ".gz"))


def _local_task(path: Path, entry: NamedTask, side: Side) -> Task:
    collection = read_collection(path, entry.split, candidates=True)
    return Task(
        collection.name,
        collection.split,
        side,
        mteb_task_of(collection, [code for code in entry.languages if "-" in code]),
        collection.sha256,
        collection.notes,
        tuple(query["text"] for query in collection.queries),
        entry.stated_prompts,
    )


def _hub_task(task: Any, entry: NamedTask, side: Side) -> Task:
    split = split_of(task, entry.split)
    label = f"[{','.join(task.hf_subsets)}]" if entry.languages and task.metadata.is_multilingual else ""
    return Task(
        f"{task.metadata.name}{label}",
        split,
        side,
        with_cached_data(task),
        dataset_of(task),
        prompts=entry.stated_prompts,
    )
