"""Queries, passages, and which passages compete for which query while weights are chosen."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from embedmerge.errors import EmbedmergeError
from embedmerge.retrieval.vectors import normalised
from embedmerge.weighting.ranking import Relevance
from embedmerge.weighting.surrogate import NOTHING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from embedmerge.retrieval.collection import Collection
    from embedmerge.weighting.examples import Example

    Embeddings = NDArray[np.float32]
    Rows = NDArray[np.int64]

DEPTH = 100  # ranks of every source that are candidates
AT_ONCE = 256  # queries ranked together


@dataclass(frozen=True)
class Pool:
    """Queries with their relevant passages, and everything they are to be found among.

    Attributes:
        queries: The queries.
        passages: All passages, each once.
        relevant: For each query, row of a relevant passage -> grade.
        negatives: For each query, rows of passages that are candidates whatever the sources think.
    """

    queries: tuple[str, ...]
    passages: tuple[str, ...]
    relevant: tuple[dict[int, int], ...]
    negatives: tuple[tuple[int, ...], ...]

    @classmethod
    def of_examples(cls, examples: Sequence[Example], corpus: Sequence[str] = ()) -> Pool:
        """The pool of all passages of all examples, and of a corpus.

        Args:
            examples: At least one.
            corpus: Further passages.

        Raises:
            EmbedmergeError: Some example has no negative in the whole pool.
        """
        everything = (passage for example in examples for passage in (*example.pos, *example.neg))
        passages = tuple(dict.fromkeys([*everything, *corpus]))
        row_of = {passage: row for row, passage in enumerate(passages)}
        for number, example in enumerate(examples, 1):
            if len(set(example.pos)) == len(passages):
                msg = f"examples: row {number} has no negative, its own or another's; add `neg` or more rows"
                raise EmbedmergeError(msg)
        return cls(
            tuple(example.query for example in examples),
            passages,
            tuple({row_of[passage]: 1 for passage in example.pos} for example in examples),
            tuple(tuple(row_of[passage] for passage in example.neg) for example in examples),
        )

    @classmethod
    def of_collection(cls, collection: Collection) -> Pool:
        """The pool of a whole corpus; documents as mteb encodes them, title first."""
        texts = collection.texts
        passages = tuple(dict.fromkeys(texts.values()))
        row_of = {passage: row for row, passage in enumerate(passages)}
        row_of_id = {identity: row_of[text] for identity, text in texts.items()}
        judged = [_by_passage(collection.qrels[query["id"]], row_of_id) for query in collection.queries]
        return cls(
            tuple(query["text"] for query in collection.queries),
            passages,
            tuple({row: grade for row, grade in grades.items() if grade > 0} for grades in judged),
            tuple(tuple(row for row, grade in grades.items() if grade <= 0) for grades in judged),
        )

    def of_rows(self, rows: Iterable[int]) -> Pool:
        """Some of the queries; the passages stay."""
        kept = list(rows)
        return replace(
            self,
            queries=tuple(self.queries[row] for row in kept),
            relevant=tuple(self.relevant[row] for row in kept),
            negatives=tuple(self.negatives[row] for row in kept),
        )

    def of_passages(self, rows: Sequence[int]) -> Pool:
        """Some of the passages, those of `relevant` and `negatives` among them, under new numbers."""
        renumbered = {row: place for place, row in enumerate(rows)}
        return Pool(
            self.queries,
            tuple(self.passages[row] for row in rows),
            tuple({renumbered[row]: grade for row, grade in grades.items()} for grades in self.relevant),
            tuple(tuple(renumbered[row] for row in own) for own in self.negatives),
        )


def _by_passage(grades: Mapping[str, int], row_of_id: Mapping[str, int]) -> dict[int, int]:
    """Grades by row of the passage; of one text under several ids the highest counts."""
    highest: dict[int, int] = {}
    for identity, grade in grades.items():
        row = row_of_id[identity]
        highest[row] = max(grade, highest.get(row, grade))
    return highest


def first_ranks(
    queries: Embeddings, passages: Embeddings, *, cosine: bool = True, depth: int = DEPTH
) -> Rows:
    """Rows of the passages nearest to each query, nearest first.

    Args:
        queries: Shape (queries, dimension).
        passages: Shape (passages, dimension).
        cosine: Whether they are normalised first.
        depth: How many.

    Returns:
        Shape (queries, depth), or fewer columns where there are fewer passages.
    """
    depth = min(depth, len(passages))
    own, others = (normalised(queries), normalised(passages)) if cosine else (queries, passages)
    ranked = []
    for start in range(0, len(own), AT_ONCE):
        scores = own[start : start + AT_ONCE] @ others.T
        nearest = np.argpartition(-scores, depth - 1, axis=1)[:, :depth]
        order = np.argsort(-np.take_along_axis(scores, nearest, axis=1), axis=1, kind="stable")
        ranked.append(np.take_along_axis(nearest, order, axis=1))
    return np.concatenate(ranked)


def candidates_of(pool: Pool, rankings: Sequence[Rows], most: int | None = None) -> tuple[Rows, Relevance]:
    """For each query its relevant passages, its own negatives, and what the sources rank high.

    Args:
        pool: Queries and passages.
        rankings: First ranks by every source, each of shape (queries, depth).
        most: Candidates of a query at most, the relevant ones not counted; the sources take turns.

    Returns:
        Rows of passages, shape (queries, widest), filled up with `NOTHING`, and where the relevant ones are.
    """
    lists = []
    for query, (grades, own) in enumerate(zip(pool.relevant, pool.negatives, strict=True)):
        turns = np.stack([ranking[query] for ranking in rankings], axis=1).ravel().tolist()
        others = [row for row in dict.fromkeys([*own, *turns]) if row not in grades]
        lists.append([*grades, *others[:most]])
    widest = max(map(len, lists))
    candidates = np.full((len(lists), widest), NOTHING)
    for query, rows in enumerate(lists):
        candidates[query, : len(rows)] = rows
    return candidates, _relevance(pool)


def _relevance(pool: Pool) -> Relevance:
    """The relevant passages stand first among a query's candidates."""
    most = max(map(len, pool.relevant))
    places = np.full((len(pool.queries), most), -1)
    grades = np.zeros((len(pool.queries), most), dtype=np.float32)
    for query, own in enumerate(pool.relevant):
        places[query, : len(own)] = range(len(own))
        grades[query, : len(own)] = list(own.values())
    return Relevance(places, grades)
