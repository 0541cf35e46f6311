"""From a task's name or folder to an mteb retrieval task."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedmerge.errors import EmbedmergeError
from embedmerge.evaluation.offline import with_cached_data
from embedmerge.retrieval.beir import Collection, read_collection

if TYPE_CHECKING:
    from collections.abc import Sequence

    from embedmerge.evaluation.compare import Side

LOCAL_K = (1, 3, 5, 10, 20, 100)


@dataclass(frozen=True)
class Task:
    """One retrieval task on one split, ready to be run.

    Attributes:
        name: Name in tables.
        split: Split of the qrels.
        side: Whether it stands for the target domain or for general retrieval.
        mteb_task: The mteb task object.
        content: What the scores depend on besides model and settings.
        notes: What was left out of the data and why.
        queries: Its queries, where they are known before the task is run.
    """

    name: str
    split: str
    side: Side
    mteb_task: Any
    content: str
    notes: tuple[str, ...] = ()
    queries: tuple[str, ...] = ()


def open_tasks(names: Sequence[str], side: Side) -> list[Task]:
    """Tasks by mteb name, mteb benchmark name, or BEIR folder with an optional `:split`.

    A folder is read and checked here; a hub task is downloaded when it is run.

    Raises:
        EmbedmergeError: No such task, benchmark or folder, or a folder that is not a collection.
    """
    return [task for name in names for task in _open(name, side)]


def _open(name: str, side: Side) -> list[Task]:
    folder, split = _split_suffix(name)
    if folder.is_dir():
        return [_local_task(read_collection(folder, split), side)]
    if _looks_like_path(name):
        msg = f"{name}: no such folder; a task is an mteb name or a BEIR folder, optionally with :split"
        raise EmbedmergeError(msg)
    return _hub_tasks(name, side)


def _split_suffix(name: str) -> tuple[Path, str | None]:
    if Path(name).expanduser().is_dir():
        return Path(name).expanduser(), None
    path, colon, split = name.rpartition(":")
    return Path(path if colon else name).expanduser(), split if colon else None


def _looks_like_path(name: str) -> bool:
    return name.startswith((".", "~")) or "/" in name or "\\" in name


def _local_task(collection: Collection, side: Side) -> Task:
    return Task(
        collection.name,
        collection.split,
        side,
        _as_mteb_task(collection),
        collection.sha256,
        collection.notes,
        tuple(query["text"] for query in collection.queries),
    )


def _as_mteb_task(collection: Collection) -> Any:
    """The collection as an mteb retrieval task whose data is already there."""
    from datasets import Dataset
    from mteb.abstasks.retrieval import AbsTaskRetrieval
    from mteb.abstasks.retrieval_dataset_loaders import RetrievalSplitData
    from mteb.abstasks.task_metadata import TaskMetadata

    # mteb's loader wants a hub repository or its own folder form, so the data is handed over instead.
    described = TaskMetadata(
        name=collection.name,
        description=f"Local BEIR collection {collection.name}",
        type="Retrieval",
        eval_langs=["eng-Latn"],
        main_score="ndcg_at_10",
        eval_splits=[collection.split],
        dataset={"path": f"local/{collection.name}", "revision": collection.sha256},
    )

    class LocalRetrieval(AbsTaskRetrieval):  # type: ignore[misc]
        metadata = described
        k_values = LOCAL_K

        def load_data(self, **_: Any) -> None:
            data = RetrievalSplitData(
                corpus=Dataset.from_list(collection.corpus),
                queries=Dataset.from_list(collection.queries),
                relevant_docs=collection.qrels,
                top_ranked=None,
            )
            self.dataset = {"default": {collection.split: data}}
            self.data_loaded = True

    return LocalRetrieval()


def _hub_tasks(name: str, side: Side) -> list[Task]:
    import mteb

    task_name, _, split = name.partition(":")
    benchmarks = {benchmark.name: benchmark for benchmark in mteb.get_benchmarks()}
    if task_name in benchmarks:
        found = [task for task in benchmarks[task_name].tasks if task.metadata.type == "Retrieval"]
        if not found:
            raise EmbedmergeError(f"{task_name}: this mteb benchmark has no retrieval task")
        return [_hub_task(task, side, None) for task in found]
    try:
        task = mteb.get_task(task_name)
    except KeyError as error:
        raise _unknown(task_name, list(benchmarks)) from error
    if task.metadata.type != "Retrieval":
        raise EmbedmergeError(
            f"{task_name}: a {task.metadata.type} task; embedmerge evaluates retrieval tasks"
        )
    return [_hub_task(task, side, split or None)]


def _hub_task(task: Any, side: Side, split: str | None) -> Task:
    splits = list(task.metadata.eval_splits)
    chosen = split or ("test" if "test" in splits else splits[0])
    if chosen not in splits:
        msg = f"{task.metadata.name}: no split {chosen!r} (there are: {', '.join(splits)})"
        raise EmbedmergeError(msg)
    dataset = task.metadata.dataset
    content = f"{dataset['path']}@{dataset['revision']}"
    return Task(task.metadata.name, chosen, side, with_cached_data(task), content)


def _unknown(name: str, benchmarks: list[str]) -> EmbedmergeError:
    from mteb.get_tasks import get_tasks

    known = [*benchmarks, *(task.metadata.name for task in get_tasks(task_types=["Retrieval"]))]
    near = difflib.get_close_matches(name, known, n=1)
    hint = (
        f"did you mean {near[0]}?"
        if near
        else "a task is an mteb name or a BEIR folder, optionally with :split"
    )
    return EmbedmergeError(f"{name}: no such mteb task or benchmark and no such folder; {hint}")
