"""Read one split of a collection and check it."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from embedmerge.retrieval.collection.candidates import (
    candidates_file,
    known_candidates,
    lists_of,
    read_candidates,
)
from embedmerge.retrieval.collection.checks import (
    distinct,
    graded,
    note_empty,
    read_documents,
    relevant,
    usable,
)
from embedmerge.retrieval.collection.content import Collection
from embedmerge.retrieval.collection.layout import pick_split, recognise
from embedmerge.retrieval.collection.splits import SPLITS
from embedmerge.retrieval.collection.tally import Tally

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from embedmerge.retrieval.collection.checks import Documents, Qrels
    from embedmerge.retrieval.collection.content import Parts


def read_collection(path: Path, split: str | None = None, *, candidates: bool = False) -> Collection:
    """Read and check one split of a collection of any known layout.

    What can be lived with is counted in the notes: judgements of unknown documents or queries, missing
    and negative grades, queries without a relevant document, rows that occur twice, empty texts.

    Args:
        path: Folder, or a FlagEmbedding file.
        split: The split; the first there is of test, dev, validation and train where None.
        candidates: Whether candidate lists, where there are any, are read. The corpus is then no more
            than the candidates and what is relevant.

    Raises:
        EmbedmergeError: A file is missing, damaged or malformed, an id stands for two texts, or nothing
            is left to evaluate.
    """
    found = recognise(path).splits(path)
    chosen = pick_split(path, found, split)
    parts, name = found[chosen], collection_name(path)
    tally = Tally(f"{name}:{chosen}")
    judged = graded(parts.judgements(), tally)
    listed = candidates_file(path, chosen) if candidates else None
    lists = _lists(parts, listed, judged) if candidates else None
    corpus = _documents(parts, lists, judged, tally)
    queries = {row.id: row.text for row in distinct(parts.queries(), "queries", tally)}
    qrels = usable(judged, queries, corpus.ids, tally, parts)
    note_empty(corpus.rows, [queries[query] for query in qrels], tally)
    ranked = None if lists is None else known_candidates(lists, qrels, corpus.ids, tally)
    return Collection(
        name,
        chosen,
        corpus.rows,
        [{"id": query, "text": queries[query]} for query in qrels],
        qrels,
        _digest([*parts.files, *([listed] if listed else [])]),
        tally.notes,
        ranked,
    )


def collection_name(path: Path) -> str:
    """The folder's name or the file's; a file called by its split has its folder's.

    >>> from pathlib import Path
    >>> collection_name(Path("data/law")), collection_name(Path("data/law-dev.jsonl.gz"))
    ('law', 'law-dev')
    """
    stem = path.resolve().name.removesuffix(".gz").removesuffix(".jsonl")
    return path.resolve().parent.name if stem in SPLITS and path.is_file() else stem


def _lists(parts: Parts, listed: Path | None, judged: Qrels) -> dict[str, list[str]] | None:
    """Candidates of the judged queries: from `candidates/`, else where the layout has them."""
    if listed is not None:
        return lists_of(read_candidates(listed), judged)
    return lists_of(parts.candidates(), judged) if parts.candidates else None


def _documents(parts: Parts, lists: dict[str, list[str]] | None, judged: Qrels, tally: Tally) -> Documents:
    if lists is None:
        return read_documents(parts, tally)
    needed = {document for documents in lists.values() for document in documents}
    corpus = read_documents(parts, tally, needed | relevant(judged))
    if left_out := len(corpus.ids) - len(corpus.rows):
        tally.count("documents are neither candidates nor relevant; not ranked", left_out)
    return corpus


def _digest(files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()
