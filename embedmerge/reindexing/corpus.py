"""What the queries are asked of: a task, or documents that nobody has judged."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from embedmerge.bundle.corpus import Corpus
from embedmerge.bundle.manifest import is_bundle
from embedmerge.bundle.opening import open_bundle
from embedmerge.bundle.remarks import Remarks
from embedmerge.errors import EmbedmergeError
from embedmerge.evaluation.suites import open_sides
from embedmerge.reindexing.sample import drawn_places, sampled
from embedmerge.reindexing.unjudged import read_queries, unjudged_task
from embedmerge.retrieval.collection.content import document_text

if TYPE_CHECKING:
    from embedmerge.evaluation.tasks import Task
    from embedmerge.retrieval.encoder import Encoder


def judged_corpus(name: str, data_dir: Path | None, documents: int, queries: int) -> tuple[Task, int]:
    """A part of a task, and how many documents there are in all.

    Args:
        name: Collection or mteb task, with an optional `:split`.
        data_dir: Where a corpus that is no folder here is looked for.
        documents: Documents at most.
        queries: Queries at most.

    Raises:
        EmbedmergeError: There is no such task, or the name stands for several.
    """
    if is_bundle(Path(name)):
        msg = f"{name}: a bundle has no judged queries; give --queries FILE, or the collection it was made of"
        raise EmbedmergeError(msg)
    tasks = open_sides({"target": [name]}, data_dir)
    if len(tasks) != 1:
        names = ", ".join(task.name for task in tasks)
        raise EmbedmergeError(f"{name}: stands for several tasks; name one of {names}")
    (task,) = tasks
    return sampled(task, documents, queries), len(task.texts.documents)


def unjudged_corpus(
    name: str, file: Path, encoder: Encoder, documents: int, queries: int, seed: int = 0
) -> tuple[Task, int]:
    """A task of queries that nobody has judged, and how many documents there are in all.

    Args:
        name: Whatever can be indexed, or a bundle, whose passages it then is.
        file: One query in every line.
        encoder: The model whose rankings stand for the truth.
        documents: Documents at most, drawn at random.
        queries: Queries at most, drawn at random.
        seed: Of the draws.

    Raises:
        EmbedmergeError: The corpus or the queries cannot be read.
    """
    path = Path(name).expanduser()
    random = np.random.default_rng(seed)
    asked = read_queries(file)
    texts = _texts(path)
    identities = list(texts)
    taken = {identities[place]: None for place in drawn_places(len(identities), documents, random)}
    some = [asked[place] for place in drawn_places(len(asked), queries, random)]
    task = unjudged_task(path.resolve().stem, {key: texts[key] for key in taken}, some, encoder)
    return task, len(texts)


def _texts(path: Path) -> dict[str, str]:
    """Id -> what is encoded, of all that has text."""
    if is_bundle(path):
        return {passage.id: passage.encoded for passage in open_bundle(path).passages}
    found = Corpus(path, Remarks(path.name)).documents()
    texts = {document.id: document_text(document.title, document.text) for document in found}
    return {identity: text for identity, text in texts.items() if text}
