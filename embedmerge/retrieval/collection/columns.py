"""From a table's row to a document, a query, a judgement or a list of candidates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from embedmerge.errors import EmbedmergeError
from embedmerge.retrieval.collection.content import Candidates, Judgement, Row
from embedmerge.retrieval.collection.rows import rows
from embedmerge.retrieval.well_formed import well_formed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

ID = ("_id", "id", "docid")  # BEIR's, mteb's and Anserini's
TEXT = ("text", "contents")
QUERY_ID = ("query-id", "query_id")
DOCUMENT_ID = ("corpus-id", "corpus_id")
GRADE = ("score",)
DOCUMENT_IDS = ("corpus-ids", "corpus_ids")


def text_rows(files: Sequence[Path]) -> Iterator[Row]:
    """Documents or queries of tables with `_id`, `text` and possibly `title`.

    Raises:
        EmbedmergeError: A file is missing or damaged, or a row lacks a column.
    """
    for path in files:
        for where, row in rows(path):
            identity, text = _columns(row, (ID, TEXT), "_id and text", where)
            yield Row(where, identifier(identity, where), _text(text, where), _text(row.get("title"), where))


def judgement_rows(files: Sequence[Path]) -> Iterator[Judgement]:
    """Judgements of tables with `query-id`, `corpus-id` and `score`.

    Raises:
        EmbedmergeError: A file is missing or damaged, a row lacks a column, or a grade is no number.
    """
    for path in files:
        for where, row in rows(path):
            wanted = (QUERY_ID, DOCUMENT_ID, GRADE)
            query, document, score = _columns(row, wanted, "query-id, corpus-id and score", where)
            yield Judgement(where, identifier(query, where), identifier(document, where), grade(score, where))


def candidate_rows(files: Sequence[Path]) -> Iterator[Candidates]:
    """Candidate lists of tables with `query-id` and `corpus-ids`, which is mteb's `top_ranked`.

    Raises:
        EmbedmergeError: A file is missing or damaged, or a row lacks a column.
    """
    for path in files:
        for where, row in rows(path):
            query, documents = _columns(row, (QUERY_ID, DOCUMENT_IDS), "query-id and corpus-ids", where)
            if not isinstance(documents, list):
                raise EmbedmergeError(f"{where}: `corpus-ids` must be a list of document ids")
            found = tuple(identifier(document, where) for document in documents)
            yield Candidates(where, identifier(query, where), found)


def grade(value: Any, where: str) -> float | None:
    """A grade, or None where there is none.

    Raises:
        EmbedmergeError: It is no number.
    """
    if value is None or value == "":
        return None
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        msg = f"{where}: not query-id, corpus-id and score; the score {str(value)[:40]!r} is no number"
        raise EmbedmergeError(msg) from error


def identifier(value: Any, where: str) -> str:
    """An id as text.

    Raises:
        EmbedmergeError: It is empty, or a list or an object.
    """
    if value is None or value == "" or isinstance(value, list | dict):
        raise EmbedmergeError(f"{where}: an id is empty, or no text or number; every row needs an id")
    return well_formed(str(value))


def _text(value: Any, where: str) -> str:
    if isinstance(value, list | dict):
        raise EmbedmergeError(f"{where}: text and title must be texts, not a list or an object")
    return "" if value is None else str(value)


def _columns(row: dict[str, Any], wanted: tuple[tuple[str, ...], ...], words: str, where: str) -> list[Any]:
    """Values of the columns, each under the first of its names that the row has."""
    names = [next((name for name in known if name in row), None) for known in wanted]
    if None in names:
        found = ", ".join(list(row)[:8]) or "nothing"
        raise EmbedmergeError(f"{where}: a row must be an object with {words} (found: {found})")
    return [row[str(name)] for name in names]
