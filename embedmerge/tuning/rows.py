"""Training rows, read from a split or a FlagEmbedding file, without what cannot be trained on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from embedmerge.errors import EmbedmergeError
from embedmerge.retrieval.collection import is_collection, read_collection
from embedmerge.retrieval.collection.flag_embedding import is_flag_embedding, passages_of, query_of
from embedmerge.retrieval.collection.layout import recognise
from embedmerge.retrieval.collection.rows import rows as file_rows
from embedmerge.retrieval.collection.splits import is_test
from embedmerge.tuning.cleaning import usable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

TRAIN = "train"


@dataclass(frozen=True)
class Row:
    """A training query.

    Attributes:
        where: File and line, or query id, for errors.
        query: Its text.
        pos: Passages that answer it.
        neg: Passages that are known not to.
    """

    where: str
    query: str
    pos: tuple[str, ...]
    neg: tuple[str, ...] = ()


@dataclass(frozen=True)
class TrainingData:
    """What is tuned on.

    Attributes:
        name: Name of the collection, with its split.
        sha256: Digest over its files.
        rows: One per query.
        corpus: Passages that negatives may be mined among.
        notes: What was left out and why.
        tested: Queries of the other splits, by the name of the collection with the split.
    """

    name: str
    sha256: str
    rows: tuple[Row, ...]
    corpus: tuple[str, ...]
    notes: tuple[str, ...] = ()
    tested: Mapping[str, tuple[str, ...]] | None = None


def read_training_data(named: str) -> TrainingData:
    """Read a collection's train split, `FOLDER` or `FOLDER:SPLIT`, or a FlagEmbedding JSONL file.

    Raises:
        EmbedmergeError: Missing, malformed, no such split, a test split, or hardly a row can be trained on.
    """
    path, split = path_and_split(named)
    if not is_collection(path):
        what = "no such file or folder" if not path.exists() else "no collection"
        msg = f"{path}: {what}; give a BEIR folder with a train split, or JSONL with query, pos and neg"
        raise EmbedmergeError(msg)
    _refuse_test(named, split or path.name.partition(".jsonl")[0] * path.is_file())
    data = _from_file(path) if is_flag_embedding(path) else _from_collection(path, split or TRAIN)
    return usable(data)


def path_and_split(named: str) -> tuple[Path, str]:
    """What a name says; no split where it names none."""
    folder, _, split = named.rpartition(":")
    if folder and Path(folder).expanduser().exists():
        return Path(folder).expanduser(), split
    return Path(named).expanduser(), ""


def _refuse_test(named: str, split: str) -> None:
    if is_test(split):
        msg = f"{named}: a test split, by its name; tuned on it, its scores would be worthless. Name train"
        raise EmbedmergeError(msg)


def _from_collection(path: Path, split: str) -> TrainingData:
    collection = read_collection(path, split)
    texts = collection.texts
    rows = []
    for query in collection.queries:
        grades = collection.qrels[query["id"]]
        pos = tuple(dict.fromkeys(texts[document] for document, grade in grades.items() if grade > 0))
        neg = tuple(dict.fromkeys(texts[document] for document, grade in grades.items() if grade <= 0))
        rows.append(Row(f"query {query['id']}", query["text"], pos, neg))
    return TrainingData(
        f"{collection.name}:{split}",
        collection.sha256,
        tuple(rows),
        tuple(dict.fromkeys(text for text in texts.values() if text.strip())),
        collection.notes,
        {f"{collection.name}:{other}": asked for other, asked in _asked(path) if other != split},
    )


def _asked(path: Path) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Queries of every split that its qrels judge."""
    for split, parts in recognise(path).splits(path).items():
        judged = {judgement.query for judgement in parts.judgements()}
        yield split, tuple(row.text for row in parts.queries() if row.id in judged)


def asked_in(named: str) -> dict[str, tuple[str, ...]]:
    """Queries of a test collection, `FOLDER`, `FOLDER:SPLIT` or a file, by its name.

    Raises:
        EmbedmergeError: No collection, or no such split.
    """
    path, split = path_and_split(named)
    collection = read_collection(path, split or None)
    name = f"{collection.name}:{collection.split}"
    return {name: tuple(query["text"] for query in collection.queries)}


def _from_file(path: Path) -> TrainingData:
    from embedmerge.checkpoint.lineage import file_sha256

    rows = tuple(_row(where, content) for where, content in file_rows(path))
    corpus = dict.fromkeys(text for row in rows for text in (*row.pos, *row.neg) if text.strip())
    return TrainingData(path.name, file_sha256(path), rows, tuple(corpus))


def _row(where: str, content: dict[str, Any]) -> Row:
    pos, neg = (tuple(dict.fromkeys(passages_of(content, key, where))) for key in ("pos", "neg"))
    return Row(where, query_of(content, where), pos, neg)
