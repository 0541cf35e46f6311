"""What a collection is: as its files hold it, and read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path


def document_text(title: str, text: str) -> str:
    """What is encoded of a document: title and text, as mteb joins them.

    >>> document_text("", "a text"), document_text("Title", "a text")
    ('a text', 'Title a text')
    """
    return f"{title} {text}".strip()


class Row(NamedTuple):
    """A document or a query.

    Attributes:
        where: File and line, for errors.
        id: Its id.
        text: Its text.
        title: Its title, empty for queries.
    """

    where: str
    id: str
    text: str
    title: str = ""


class Judgement(NamedTuple):
    """A line of qrels.

    Attributes:
        where: File and line, for errors.
        query: Id of the query.
        document: Id of the document; None where the query is judged and nothing is relevant.
        grade: How relevant the document is; None where the line does not say.
    """

    where: str
    query: str
    document: str | None
    grade: float | None


class Candidates(NamedTuple):
    """Documents that some retriever found for a query.

    Attributes:
        where: File and line, for errors.
        query: Id of the query.
        documents: Ids of the documents.
    """

    where: str
    query: str
    documents: tuple[str, ...]


@dataclass(frozen=True)
class Parts:
    """One split as its files hold it; nothing is read before it is asked for.

    Attributes:
        corpus: Files of the corpus.
        topics: Files of the queries.
        qrels: Files of the judgements.
        documents: Yields the documents.
        queries: Yields the queries, those of other splits too.
        judgements: Yields the judgements.
        candidates: Yields candidate lists, where the format itself has them.
    """

    corpus: tuple[Path, ...]
    topics: tuple[Path, ...]
    qrels: tuple[Path, ...]
    documents: Callable[[], Iterable[Row]]
    queries: Callable[[], Iterable[Row]]
    judgements: Callable[[], Iterable[Judgement]]
    candidates: Callable[[], Iterable[Candidates]] | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        """All files, each once."""
        return tuple(dict.fromkeys((*self.corpus, *self.topics, *self.qrels)))


@dataclass(frozen=True)
class Collection:
    """One split of a collection, read and checked.

    Attributes:
        name: The folder's name, or the file's.
        split: The split.
        corpus: Documents with `id`, `title` and `text`.
        queries: Queries with `id` and `text`, those that the split judges and no others.
        qrels: Query id -> document id -> grade, known documents only.
        sha256: Digest over the files.
        notes: What was left out and why.
        candidates: Query id -> ids of the documents to be ranked; None where that is the whole corpus.
    """

    name: str
    split: str
    corpus: list[dict[str, str]]
    queries: list[dict[str, str]]
    qrels: dict[str, dict[str, int]]
    sha256: str
    notes: tuple[str, ...]
    candidates: dict[str, list[str]] | None = None

    @property
    def texts(self) -> dict[str, str]:
        """Document id -> what is encoded of it: title and text, as mteb joins them."""
        return {row["id"]: document_text(row["title"], row["text"]) for row in self.corpus}
