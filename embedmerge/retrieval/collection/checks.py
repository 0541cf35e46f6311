"""What is checked of every collection, and what can be lived with."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from embedmerge.errors import EmbedmergeError
from embedmerge.retrieval.well_formed import well_formed

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Mapping

    from embedmerge.retrieval.collection.content import Judgement, Parts, Row
    from embedmerge.retrieval.collection.tally import Tally

Qrels = dict[str, dict[str, int]]
GREATEST = 2**31 - 1  # grades are 32-bit integers to mteb


@dataclass(frozen=True)
class Documents:
    """A corpus, read.

    Attributes:
        rows: Documents with `id`, `title` and `text`, those that are needed.
        ids: Ids of all documents.
    """

    rows: list[dict[str, str]] = field(default_factory=list)
    ids: set[str] = field(default_factory=set)


def read_documents(parts: Parts, tally: Tally, needed: Container[str] | None = None) -> Documents:
    """The documents, or those of them whose ids are needed.

    Raises:
        EmbedmergeError: There are none, a file is damaged, or an id stands for two documents.
    """
    corpus = Documents()
    for row in distinct(parts.documents(), "documents", tally):
        corpus.ids.add(row.id)
        if needed is None or row.id in needed:
            corpus.rows.append({"id": row.id, "title": row.title, "text": row.text})
    if not corpus.ids:
        raise EmbedmergeError(f"{parts.corpus[0]}: the corpus is empty; nothing can be retrieved from it")
    return corpus


def distinct(rows: Iterable[Row], what: str, tally: Tally) -> Iterator[Row]:
    """The rows, each once, with texts that any encoding knows.

    Raises:
        EmbedmergeError: An id stands for two different texts.
    """
    seen: dict[str, int] = {}
    for row in rows:
        tidy = row._replace(text=well_formed(row.text), title=well_formed(row.title))
        content = hash((tidy.title, tidy.text))  # the text itself would be held in memory
        if row.id not in seen:
            seen[row.id] = content
            if tidy != row:
                tally.count(f"{what} hold half a surrogate pair; replaced")
            yield tidy
        elif seen[row.id] == content:
            tally.count(f"{what} occur twice; taken once")
        else:
            msg = f"{row.where}: the id {row.id!r} occurs twice, with different texts; ids must be unique"
            raise EmbedmergeError(msg)


def graded(judgements: Iterable[Judgement], tally: Tally) -> Qrels:
    """Query id -> document id -> grade, whole and not negative.

    Raises:
        EmbedmergeError: A grade is too great.
    """
    judged: Qrels = {}
    for where, query, document, grade in judgements:
        grades = judged.setdefault(query, {})
        if document is None:
            continue
        if grade is None or math.isnan(grade):
            tally.count("qrels have no grade; left out")
            continue
        if abs(grade) > GREATEST:
            raise EmbedmergeError(f"{where}: the score {grade:g} is no grade; grades are small whole numbers")
        if grade < 0:
            tally.count("qrels have a negative grade; taken as not relevant")
        if grade != int(grade):
            tally.count("grades are not whole numbers; cut to whole ones")
        whole = max(int(grade), 0)
        if grades.get(document, whole) != whole:
            tally.count("qrels grade a document again, otherwise; the last grade counts")
        grades[document] = whole
    return judged


def relevant(judged: Qrels) -> set[str]:
    """Ids of all documents that are relevant to some query."""
    return {document for grades in judged.values() for document, grade in grades.items() if grade > 0}


def usable(
    judged: Qrels, queries: Container[str], known: Container[str], tally: Tally, parts: Parts
) -> Qrels:
    """Judgements of known queries on known documents, of queries that have a relevant one.

    Raises:
        EmbedmergeError: Nothing is left.
    """
    rows = [document for grades in judged.values() for document in grades]
    tally.count(
        "qrels name documents that the corpus has not; left out", sum(each not in known for each in rows)
    )
    tally.count(
        f"judged queries are not in {parts.topics[0].name}; left out",
        sum(query not in queries for query in judged),
    )
    kept = {
        query: {document: grade for document, grade in grades.items() if document in known}
        for query, grades in judged.items()
        if query in queries
    }
    found = {query: grades for query, grades in kept.items() if any(grades.values())}
    tally.count("queries have no relevant document left; left out", len(kept) - len(found))
    if not found:
        why = "".join(f"; {note}" for note in tally.notes)
        msg = f"no query in it has a relevant document in the corpus; is it this corpus's?{why}"
        raise EmbedmergeError(f"{parts.qrels[0]}: {msg}")
    return found


def note_empty(documents: Iterable[Mapping[str, str]], queries: Iterable[str], tally: Tally) -> None:
    """Count what has no text; it is encoded all the same, as mteb does it."""
    blank = sum(not (row["text"] + row["title"]).strip() for row in documents)
    tally.count("documents are empty; encoded all the same", blank)
    tally.count("queries are empty; encoded all the same", sum(not query.strip() for query in queries))
