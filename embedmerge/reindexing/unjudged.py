"""Queries that nobody has judged: an index encoded again says what is right."""

from __future__ import annotations

from typing import TYPE_CHECKING

from embedmerge.digest import content_digest
from embedmerge.errors import EmbedmergeError
from embedmerge.evaluation.local import mteb_task_of
from embedmerge.evaluation.tasks import Task
from embedmerge.retrieval.collection import Collection
from embedmerge.retrieval.index import IndexSettings, VectorIndex
from embedmerge.retrieval.query_lines import read_query_lines

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from embedmerge.retrieval.encoder import Encoder

FIRST = 10


def read_queries(path: Path) -> list[str]:
    """Queries from a file with one in every line; each once, empty lines left out.

    Raises:
        EmbedmergeError: The file cannot be read, or has none.
    """
    found = list(dict.fromkeys(read_query_lines(path)))
    if not found:
        raise EmbedmergeError(f"{path}: no query in it; give one in every line")
    return found


def unjudged_task(name: str, documents: Mapping[str, str], queries: Sequence[str], encoder: Encoder) -> Task:
    """A task whose relevant documents are those that a model ranks first.

    Scores on it say how much of a ranking stays, as Drift-Adapter's recall ratio does (arXiv 2509.23471),
    not how good it is.

    Args:
        name: Name of the corpus.
        documents: Id -> text.
        queries: Queries.
        encoder: The model.

    Raises:
        EmbedmergeError: There are no documents.
    """
    if not documents:
        raise EmbedmergeError(f"{name}: no documents in it")
    model = encoder.model
    index = VectorIndex(IndexSettings("exact", model.similarity))  # type: ignore[arg-type]
    index.add(encoder.embed(list(documents.values()), model.prompt("document")), list(documents))
    rankings = index.search(encoder.embed(list(queries), model.prompt("query")), k=FIRST)
    collection = Collection(
        name=name,
        split="test",
        corpus=[{"id": identity, "title": "", "text": text} for identity, text in documents.items()],
        queries=[{"id": f"q{place}", "text": query} for place, query in enumerate(queries)],
        qrels={f"q{place}": dict.fromkeys(ranking.ids, 1) for place, ranking in enumerate(rankings)},
        sha256=content_digest(
            {"documents": list(documents.items()), "queries": list(queries), "model": model.sha256}
        ),
        notes=(),
    )
    return Task(collection.name, collection.split, "target", mteb_task_of(collection), collection.sha256)
