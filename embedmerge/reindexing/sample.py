"""What of a collection is looked at: encoding all of it is the price that one wants to know before paying."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from embedmerge.evaluation.local import mteb_task_of
from embedmerge.retrieval.collection import Collection

if TYPE_CHECKING:
    from collections.abc import Mapping

    from embedmerge.evaluation.tasks import Task
    from embedmerge.evaluation.texts import TaskTexts


def sampled(task: Task, documents: int, queries: int, seed: int = 0) -> Task:
    """A task on a part of its queries and documents; the task itself where it is no larger.

    Args:
        task: The task.
        documents: Documents at most: those that are relevant to the queries, which all stay, and others
            drawn at random.
        queries: Queries at most, drawn at random.
        seed: Of the draws.
    """
    texts = task.texts
    judged = [query for query in texts.relevant if query in texts.queries]
    if len(texts.documents) <= documents and len(judged) <= queries:
        return task
    random = np.random.default_rng(seed)
    taken = [judged[place] for place in drawn_places(len(judged), queries, random)]
    relevant = {query: dict(texts.relevant[query]) for query in taken}
    collection = Collection(
        name=task.name,
        split=task.split,
        corpus=[
            {"id": document, "title": "", "text": texts.documents[document]}
            for document in _documents(texts, relevant, documents, random)
        ],
        queries=[{"id": query, "text": texts.queries[query]} for query in relevant],
        qrels=relevant,
        sha256=f"{task.content}/{documents}/{queries}/{seed}",
        notes=(),
    )
    return replace(task, mteb_task=mteb_task_of(collection), content=collection.sha256)


def _documents(
    texts: TaskTexts, relevant: Mapping[str, Mapping[str, int]], most: int, random: np.random.Generator
) -> list[str]:
    needed = {document for grades in relevant.values() for document in grades if document in texts.documents}
    others = [document for document in texts.documents if document not in needed]
    taken = needed | {others[place] for place in drawn_places(len(others), most - len(needed), random)}
    return [document for document in texts.documents if document in taken]


def drawn_places(count: int, most: int, random: np.random.Generator) -> list[int]:
    """Places of what is drawn, in order; all where there are no more than that."""
    if count <= most:
        return list(range(count))
    return sorted(int(place) for place in random.choice(count, max(most, 0), replace=False))
