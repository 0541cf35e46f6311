"""Queries one by one, base against merged, with what each model ranked first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from embedmerge.evaluation.flips import beginning
from embedmerge.evaluation.paired import paired_tasks

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from embedmerge.evaluation.flips import Texts, TextsOf
    from embedmerge.evaluation.paired import PairedTask
    from embedmerge.evaluation.scores import TaskScores

MOST = 2000
RANKS = 3
DECIMALS = 1


@dataclass(frozen=True)
class ComparedQuery:
    """A query and what two models made of it.

    Attributes:
        task: Name of the task.
        query: Beginning of its text; its id where texts are not known.
        before: The base's nDCG@10 in points.
        after: The merged model's.
        first_before: Documents that the base ranked first, as places in `Queries.documents`, at most three.
        first_after: Documents that the merged model ranked first.
        relevant: Those of both that are relevant.
    """

    task: str
    query: str
    before: float
    after: float
    first_before: tuple[int, ...]
    first_after: tuple[int, ...]
    relevant: tuple[int, ...]


@dataclass(frozen=True)
class Queries:
    """Queries of all tasks, or an even draw of at most two thousand.

    Attributes:
        base: Name of the base.
        merged: Name of the merged model.
        total: Number of queries there are.
        shown: Those that are kept, target tasks first.
        documents: Beginnings of the documents that they refer to; ids where texts are not known.
    """

    base: str
    merged: str
    total: int
    shown: tuple[ComparedQuery, ...]
    documents: tuple[str, ...]


def compared_queries(
    scores: Mapping[str, Sequence[TaskScores]],
    base: str,
    merged: str,
    *,
    texts: TextsOf | None = None,
    most: int = MOST,
    seed: int = 0,
) -> Queries:
    """Put two models' answers side by side, query by query.

    Args:
        scores: Model -> its scores on the same tasks in the same order.
        base: Name of one.
        merged: Name of the other.
        texts: Gives the texts of a task from its name and split; ids stand for texts without it.
        most: Queries that are kept; where there are more, these are drawn.
        seed: Of the draw.
    """
    tasks = paired_tasks({name: scores[name] for name in (base, merged)})
    tasks = sorted(tasks, key=lambda task: task.facts.side != "target")
    total = sum(len(task.queries) for task in tasks)
    drawn = np.sort(np.random.default_rng(seed).permutation(total)[:most])
    shelf, shown, start = _Shelf(), list[ComparedQuery](), 0
    for task in tasks:
        rows = drawn[(drawn >= start) & (drawn < start + len(task.queries))] - start
        found = texts(task.facts.task, task.facts.split) if texts and len(rows) else None
        shown += [_compared(task, int(row), (base, merged), found, shelf) for row in rows]
        start += len(task.queries)
    return Queries(base, merged, total, tuple(shown), tuple(shelf.texts))


class _Shelf:
    """Documents, each kept once."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self._places: dict[tuple[str, str], int] = {}

    def place(self, task: str, identity: str, found: Texts | None) -> int:
        key = task, identity
        if key not in self._places:
            self._places[key] = len(self.texts)
            self.texts.append(beginning(found.documents.get(identity, "")) if found else identity)
        return self._places[key]


def _compared(
    task: PairedTask, row: int, models: tuple[str, str], found: Texts | None, shelf: _Shelf
) -> ComparedQuery:
    query, name = task.queries[row], task.facts.task
    grades = found.relevant.get(query, {}) if found else {}
    first, relevant = [], dict[int, None]()
    for model in models:
        ranked = task.scores[model].ranked.get(query, [])[:RANKS]
        places = [shelf.place(name, identity, found) for identity in ranked]
        first.append(tuple(places))
        pairs = zip(ranked, places, strict=True)
        relevant |= dict.fromkeys(place for identity, place in pairs if grades.get(identity, 0) > 0)
    before, after = (round(float(task.of_model(model)[row]), DECIMALS) for model in models)
    text = beginning(found.queries.get(query, "")) if found else ""
    return ComparedQuery(name, text or query, before, after, first[0], first[1], tuple(relevant))


def script_data(queries: Queries) -> dict[str, Any]:
    """What the page's script draws from, in plain types.

    Args:
        queries: The queries.
    """
    tasks = list(dict.fromkeys(each.task for each in queries.shown))
    return {
        "base": queries.base,
        "merged": queries.merged,
        "tasks": tasks,
        "documents": queries.documents,
        "points": [
            [
                tasks.index(each.task),
                each.before,
                each.after,
                each.query,
                each.first_before,
                each.first_after,
                each.relevant,
            ]
            for each in queries.shown
        ],
    }
