"""Queries that a reference answered and a model does not, and the other way round."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Protocol

import numpy as np

from embedmerge.evaluation.scores import Side  # noqa: TC001  (who reads a report back looks here for it)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from embedmerge.evaluation.paired import PairedTask

    TextsOf = Callable[[str, str], "Texts"]

ANSWERED = 50.0  # points of nDCG@10 from which on a query counts as answered
WORST = 20
BEGINNING = 200  # characters of a text that are shown

Shown = tuple[str, str]  # a document's id and the beginning of its text


class Texts(Protocol):
    """What the ids of a task stand for."""

    @property
    def queries(self) -> Mapping[str, str]:
        """Query id -> text."""

    @property
    def documents(self) -> Mapping[str, str]:
        """Document id -> text."""

    @property
    def relevant(self) -> Mapping[str, Mapping[str, int]]:
        """Query id -> document id -> grade."""


@dataclass(frozen=True)
class Flip:
    """A query that the reference answered and the model does not.

    Attributes:
        task: Name of the task.
        split: Split of the qrels.
        side: Side of the task.
        query_id: Id of the query.
        query: Beginning of its text; empty where texts were not asked for.
        before: The reference's nDCG@10 in points.
        after: The model's.
        first_before: What the reference ranked first: id and beginning of the text; None where it is not
            known or there was no result.
        first_after: What the model ranked first.
        relevant: The document of the highest grade; None where texts were not asked for.
    """

    task: str
    split: str
    side: Side
    query_id: str
    query: str
    before: float
    after: float
    first_before: Shown | None
    first_after: Shown | None
    relevant: Shown | None


@dataclass(frozen=True)
class FlipCount:
    """Flips in a task, or in all tasks of one side together.

    Attributes:
        queries: Number of queries.
        negative: How many the reference answered and the model does not.
        positive: How many the model answers and the reference did not.
        negative_rate: Percent of all queries.
        positive_rate: Percent of all queries.
    """

    queries: int
    negative: int
    positive: int
    negative_rate: float
    positive_rate: float

    @classmethod
    def of(cls, queries: int, negative: int, positive: int) -> FlipCount:
        """With its rates.

        >>> FlipCount.of(200, 3, 12)
        FlipCount(queries=200, negative=3, positive=12, negative_rate=1.5, positive_rate=6.0)
        """
        rates = (round(100 * count / queries, 4) for count in (negative, positive))
        return cls(queries, negative, positive, *rates)


@dataclass(frozen=True)
class Flips:
    """What changes for whoever puts a model in the place of a reference.

    Attributes:
        model: Name of the model.
        reference: Name of the model it is compared with.
        sides: Side -> count over the queries of its tasks; a side without tasks is absent.
        tasks: A count for each task, target ones first.
        worst: Negative flips that lost most, at most twenty.
    """

    model: str
    reference: str
    sides: dict[Side, FlipCount]
    tasks: tuple[FlipCount, ...]
    worst: tuple[Flip, ...] = ()


def flips(
    tasks: Sequence[PairedTask],
    model: str,
    reference: str,
    *,
    worst: int = WORST,
    texts: TextsOf | None = None,
) -> Flips:
    """Count the queries whose answer is lost and won.

    The negative flip rate is the share of all samples that an old classifier got right and a new one gets
    wrong (Yan et al., "Positive-Congruent Training", CVPR 2021, arXiv 2011.09161, section 3). Retrieval has
    no one class to get right: a query counts as answered where nDCG@10 is at least 50 points. With one
    relevant document that means that it is among the first three, with several that half of the ideal
    discounted gain is there.

    Args:
        tasks: Target ones first.
        model: The new model.
        reference: The one it may replace.
        worst: How many negative flips to show.
        texts: Gives the texts of a task from its name and split; they are looked up for what is shown only.
    """
    sides = dict.fromkeys(task.facts.side for task in tasks)
    return Flips(
        model,
        reference,
        {
            side: _count([task for task in tasks if task.facts.side == side], model, reference)
            for side in sides
        },
        tuple(_count([task], model, reference) for task in tasks),
        tuple(
            _shown(tasks[place], row, model, reference, texts)
            for place, row in _worst(tasks, model, reference, worst)
        ),
    )


def _count(tasks: Sequence[PairedTask], model: str, reference: str) -> FlipCount:
    before = np.concatenate([task.of_model(reference) for task in tasks]) >= ANSWERED
    after = np.concatenate([task.of_model(model) for task in tasks]) >= ANSWERED
    return FlipCount.of(len(before), int((before & ~after).sum()), int((after & ~before).sum()))


def _worst(tasks: Sequence[PairedTask], model: str, reference: str, number: int) -> list[tuple[int, int]]:
    """Place of the task and row of the query of the negative flips that lost most, the most lost first."""

    def lost() -> Iterator[tuple[float, int, int]]:
        for place, task in enumerate(tasks):
            flipped = (task.of_model(reference) >= ANSWERED) & (task.of_model(model) < ANSWERED)
            deltas = task.deltas(model, reference)
            yield from ((float(deltas[row]), place, int(row)) for row in np.flatnonzero(flipped))

    return [(place, row) for _, place, row in heapq.nsmallest(number, lost())]


def _shown(task: PairedTask, row: int, model: str, reference: str, texts: TextsOf | None) -> Flip:
    query, facts = task.queries[row], task.facts
    found = texts(facts.task, facts.split) if texts else None
    grades = found.relevant.get(query, {}) if found else {}
    best = max(grades, key=lambda document: grades[document], default=None)
    return Flip(
        facts.task,
        facts.split,
        facts.side,
        query,
        beginning(found.queries.get(query, "")) if found else "",
        float(task.of_model(reference)[row]),
        float(task.of_model(model)[row]),
        _document(_first(task, reference, query), found),
        _document(_first(task, model, query), found),
        _document(best, found),
    )


def _first(task: PairedTask, model: str, query: str) -> str | None:
    return next(iter(task.scores[model].ranked.get(query, ())), None)


def _document(identity: str | None, texts: Texts | None) -> Shown | None:
    if identity is None:
        return None
    return identity, beginning(texts.documents.get(identity, "")) if texts else ""


def beginning(text: str) -> str:
    r"""The first two hundred characters of a text in one line.

    >>> beginning("  A title\n\nand text " + 300 * "x")[:20], len(beginning(300 * "x"))
    ('A title and text xxx', 200)
    """
    words = " ".join("".join(islice(text, 4 * BEGINNING)).split())
    return words if len(words) <= BEGINNING else words[: BEGINNING - 1] + "\N{HORIZONTAL ELLIPSIS}"
