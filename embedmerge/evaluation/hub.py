"""mteb's own tasks and benchmarks by name and language, at the revisions mteb pins."""

from __future__ import annotations

import copy
import difflib
from typing import TYPE_CHECKING, Any

from embedmerge.errors import EmbedmergeError

if TYPE_CHECKING:
    from collections.abc import Sequence

# Reranking tasks are retrieval among candidate lists.
KINDS = ("Retrieval", "Reranking")


def mteb_tasks(name: str, languages: Sequence[str] = ()) -> list[Any]:
    """The retrieval tasks that an mteb task or benchmark stands for, of some languages or of all.

    An aggregate, as CQADupstackRetrieval is one, stands for its parts. Of a benchmark those tasks are
    left out that have none of the languages.

    Raises:
        EmbedmergeError: No such task or benchmark, no retrieval of text, or none of these languages.
    """
    import mteb

    benchmarks = {benchmark.name: benchmark for benchmark in mteb.get_benchmarks()}
    if name in benchmarks:
        return _of_benchmark(benchmarks[name], languages)
    try:
        task = mteb.get_task(name)
    except KeyError as error:
        raise _unknown(name, list(benchmarks)) from error
    return [_in_languages(part, languages) for part in _parts(task)]


def dataset_of(task: Any) -> str:
    """Data set, revision, and the subsets where they are not all: what a task's scores depend on."""
    dataset = task.metadata.dataset
    subsets = list(task.hf_subsets)
    all_of_them = sorted(subsets) == sorted(task.metadata.hf_subsets)
    return f"{dataset['path']}@{dataset['revision']}" + ("" if all_of_them else f"[{','.join(subsets)}]")


def split_of(task: Any, asked: str | None) -> str:
    """The split asked for, else `test` where there is one, else the first.

    Raises:
        EmbedmergeError: There is no such split.
    """
    splits = list(task.metadata.eval_splits)
    chosen = asked or ("test" if "test" in splits else splits[0])
    if chosen not in splits:
        msg = f"{task.metadata.name}: no split {chosen!r} (there are: {', '.join(splits)})"
        raise EmbedmergeError(msg)
    return chosen


def _of_benchmark(benchmark: Any, languages: Sequence[str]) -> list[Any]:
    found = [task for task in benchmark.tasks if task.metadata.type == "Retrieval" and _is_text(task)]
    if not found:
        raise EmbedmergeError(f"{benchmark.name}: this mteb benchmark has no retrieval task")
    # mteb hands out the same objects to everybody.
    copies = [copy.copy(part) for task in found for part in _parts(task)]
    chosen = [task for task in copies if not languages or _matching(task, languages)]
    if not chosen:
        msg = f"{benchmark.name}: none of its retrieval tasks is in {', '.join(languages)}"
        raise EmbedmergeError(msg)
    return [_in_languages(task, languages) for task in chosen]


def _parts(task: Any) -> list[Any]:
    """The task, or the tasks it is an aggregate of.

    Raises:
        EmbedmergeError: It is no retrieval of text.
    """
    from mteb.abstasks.aggregated_task import AbsTaskAggregate

    if task.metadata.type not in KINDS or not _is_text(task):
        kind = f"{task.metadata.type} task on {' and '.join(task.metadata.modalities)}"
        msg = f"{task.metadata.name}: a {kind}; embedmerge evaluates retrieval tasks on text"
        raise EmbedmergeError(msg)
    return list(task.tasks) if isinstance(task, AbsTaskAggregate) else [task]


def _is_text(task: Any) -> bool:
    return set(task.metadata.modalities) == {"text"}


def _matching(task: Any, languages: Sequence[str]) -> list[str]:
    """Subsets of the task that are named, or are in one of the languages."""
    spoken = task.metadata.hf_subsets_to_langscripts
    return [
        subset
        for subset in task.hf_subsets
        if subset in languages
        or any(code in (full, full.split("-")[0]) for full in spoken[subset] for code in languages)
    ]


def _in_languages(task: Any, languages: Sequence[str]) -> Any:
    if not languages:
        return task
    subsets = _matching(task, languages)
    if not subsets:
        there = ", ".join(sorted(task.metadata.languages)[:12])
        msg = f"{task.metadata.name}: not in {', '.join(languages)} (its languages: {there})"
        raise EmbedmergeError(msg)
    return task.filter_languages(languages=None, hf_subsets=subsets)


def _unknown(name: str, benchmarks: list[str]) -> EmbedmergeError:
    from mteb.get_tasks import get_tasks

    known = [*benchmarks, *(task.metadata.name for task in get_tasks(task_types=list(KINDS)))]
    near = difflib.get_close_matches(name, known, n=1)
    hint = (
        f"did you mean {near[0]}?"
        if near
        else "a task is an mteb name or the folder of a collection, optionally with :split"
    )
    return EmbedmergeError(f"{name}: no such mteb task or benchmark and no such folder; {hint}")
