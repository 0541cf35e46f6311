"""FlagEmbedding JSONL: a query with the passages that answer it (`pos`) and some that do not (`neg`)."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from embedmerge.errors import EmbedmergeError
from embedmerge.retrieval.collection.content import Judgement, Parts, Row
from embedmerge.retrieval.collection.rows import rows
from embedmerge.retrieval.collection.splits import split_in

if TYPE_CHECKING:
    from pathlib import Path

ENDINGS = (".jsonl", ".jsonl.gz")


def is_flag_embedding(path: Path) -> bool:
    """Whether it is a file of this kind, by its ending."""
    return path.is_file() and path.name.endswith(ENDINGS)


def flag_embedding_splits(path: Path) -> dict[str, Parts]:
    """The file as a collection: the corpus is every passage in it, and `pos` is what is relevant.

    Its split is the one its name has in it, else `all`.
    """
    content = _Content(path)
    files = (path,)
    parts = Parts(
        files,
        files,
        files,
        lambda: content.documents.values(),
        lambda: content.queries.values(),
        lambda: content.judgements,
    )
    return {split_in(path.name.partition(".jsonl")[0]): parts}


class _Content:
    """Different queries and different passages, numbered as they come."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @cached_property
    def _read(self) -> tuple[dict[str, Row], dict[str, Row], list[Judgement]]:
        queries: dict[str, Row] = {}
        documents: dict[str, Row] = {}
        judgements: list[Judgement] = []
        for where, row in rows(self._path):
            text = query_of(row, where)
            query = queries.setdefault(text, Row(where, f"q{len(queries)}", text))
            relevant = [
                documents.setdefault(passage, Row(where, f"d{len(documents)}", passage)).id
                for passage in passages_of(row, "pos", where)
            ]
            for passage in passages_of(row, "neg", where):
                documents.setdefault(passage, Row(where, f"d{len(documents)}", passage))
            judgements += [Judgement(where, query.id, document, 1) for document in relevant]
            judgements += [] if relevant else [Judgement(where, query.id, None, None)]
        return queries, documents, judgements

    @property
    def queries(self) -> dict[str, Row]:
        return self._read[0]

    @property
    def documents(self) -> dict[str, Row]:
        return self._read[1]

    @property
    def judgements(self) -> list[Judgement]:
        return self._read[2]


def query_of(row: dict[str, Any], where: str) -> str:
    """The query of a row.

    Raises:
        EmbedmergeError: It has none.
    """
    text = row.get("query")
    if not isinstance(text, str):
        raise EmbedmergeError(
            f"{where}: `query` is missing, or no text; a row has query, pos and possibly neg"
        )
    return text


def passages_of(row: dict[str, Any], key: str, where: str) -> list[str]:
    """The passages of a row under `pos` or `neg`, none where it has none.

    Raises:
        EmbedmergeError: They are no list of texts.
    """
    passages = row.get(key) or []
    if isinstance(passages, str):
        as_list = [passages[:30]]
        raise EmbedmergeError(f"{where}: `{key}` must be a list of texts, and is a bare one; write {as_list}")
    if not isinstance(passages, list) or not all(isinstance(passage, str) for passage in passages):
        raise EmbedmergeError(f"{where}: `{key}` must be a list of texts")
    return passages
