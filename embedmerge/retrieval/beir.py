"""A BEIR folder on disk: corpus.jsonl, queries.jsonl, qrels/<split>.tsv."""

from __future__ import annotations

import csv
import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from embedmerge.errors import EmbedmergeError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PREFERRED_SPLITS = ("test", "dev", "validation", "train")


@dataclass(frozen=True)
class Collection:
    """One split of a BEIR folder, read.

    Attributes:
        name: The folder's name.
        split: The split.
        corpus: Documents with `id`, `title` and `text`.
        queries: Queries with `id` and `text`, those that the split judges and no others.
        qrels: Query id -> document id -> grade, known documents only.
        sha256: Digest over corpus, queries and qrels files.
        notes: What was left out and why.
    """

    name: str
    split: str
    corpus: list[dict[str, str]]
    queries: list[dict[str, str]]
    qrels: dict[str, dict[str, int]]
    sha256: str
    notes: tuple[str, ...]

    @property
    def texts(self) -> dict[str, str]:
        """Document id -> what is encoded of it: title and text, as mteb joins them."""
        return {row["id"]: f"{row['title']} {row['text']}".strip() for row in self.corpus}


def splits(folder: Path) -> list[str]:
    """Splits the folder has qrels for, sorted."""
    return sorted(path.stem for path in (folder / "qrels").glob("*.tsv"))


def pick_split(folder: Path, asked: str | None) -> str:
    """The split asked for, else the first there is of test, dev, validation and train.

    Raises:
        EmbedmergeError: The folder has no such split, or none at all.
    """
    present = splits(folder)
    if asked is not None:
        if asked not in present:
            msg = f"{folder}: no split {asked!r} in qrels/ (there are: {', '.join(present) or 'none'})"
            raise EmbedmergeError(msg)
        return asked
    for split in (*PREFERRED_SPLITS, *present):
        if split in present:
            return split
    msg = f"{folder}: no qrels/*.tsv in it; a BEIR folder has corpus.jsonl, queries.jsonl and qrels/test.tsv"
    raise EmbedmergeError(msg)


def read_collection(folder: Path, split: str | None = None) -> Collection:
    """Read and check one split.

    Qrels that name unknown documents or queries are counted in the notes and left out; so are
    queries that are left without a relevant document.

    Raises:
        EmbedmergeError: A file is missing or malformed, ids repeat, or nothing is left to evaluate.
    """
    split = pick_split(folder, split)
    paths = [folder / "corpus.jsonl", folder / "queries.jsonl", folder / "qrels" / f"{split}.tsv"]
    corpus = [
        {"id": identity, "title": str(row.get("title") or ""), "text": str(row.get("text") or "")}
        for identity, row in _rows(paths[0])
    ]
    if not corpus:
        raise EmbedmergeError(f"{paths[0]}: the corpus is empty; nothing can be retrieved from it")
    queries = {identity: str(row.get("text") or "") for identity, row in _rows(paths[1])}
    known = {document["id"] for document in corpus}
    judged = _read_qrels(paths[2])
    qrels, notes = _usable(judged, queries, known, f"{folder.name}:{split}")
    if not qrels:
        raise EmbedmergeError(
            f"{paths[2]}: no query in it has a relevant document in the corpus; is it this corpus's?"
        )
    kept = [{"id": query, "text": queries[query]} for query in qrels]
    return Collection(folder.name, split, corpus, kept, qrels, _digest(paths), notes)


def _rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    seen: set[str] = set()
    for number, line in enumerate(_lines(path), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise EmbedmergeError(f"{path}:{number}: not a JSON object ({error})") from error
        if not isinstance(row, dict) or "_id" not in row or "text" not in row:
            raise EmbedmergeError(f"{path}:{number}: a row must be an object with _id and text")
        identity = str(row["_id"])
        if identity in seen:
            raise EmbedmergeError(f"{path}:{number}: the id {identity!r} occurs twice; ids must be unique")
        seen.add(identity)
        yield identity, row


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").split("\n")
    except FileNotFoundError as error:
        msg = f"{path}: no such file; a BEIR folder has corpus.jsonl, queries.jsonl and qrels/<split>.tsv"
        raise EmbedmergeError(msg) from error
    except (OSError, UnicodeDecodeError) as error:
        raise EmbedmergeError(f"{path}: cannot be read as UTF-8 text ({error})") from error


def _read_qrels(path: Path) -> dict[str, dict[str, int]]:
    judged: dict[str, dict[str, int]] = {}
    for number, fields in enumerate(csv.reader(_lines(path), delimiter="\t", quoting=csv.QUOTE_NONE), 1):
        if not fields or (number == 1 and fields[-1].strip().lower() == "score"):
            continue
        try:
            query, document, grade = fields[0], fields[-2], int(float(fields[-1]))
        except (IndexError, ValueError) as error:
            raise EmbedmergeError(
                f"{path}:{number}: not query-id, corpus-id and score between tabs"
            ) from error
        judged.setdefault(query, {})[document] = grade
    return judged


def _usable(
    judged: dict[str, dict[str, int]], queries: dict[str, str], known: set[str], where: str
) -> tuple[dict[str, dict[str, int]], tuple[str, ...]]:
    unknown_queries = [query for query in judged if query not in queries]
    rows = [(query, document) for query, grades in judged.items() for document in grades]
    unknown_documents = {document for _, document in rows if document not in known}
    kept = {
        query: {document: grade for document, grade in grades.items() if document in known}
        for query, grades in judged.items()
        if query in queries
    }
    usable = {query: grades for query, grades in kept.items() if any(grade > 0 for grade in grades.values())}
    counts = (
        (
            sum(document in unknown_documents for _, document in rows),
            "qrels name documents that the corpus has not",
        ),
        (len(unknown_queries), "judged queries are not in queries.jsonl"),
        (len(kept) - len(usable), "queries have no relevant document left"),
    )
    return usable, tuple(f"{where}: {count} {what}; left out" for count, what in counts if count)


def _digest(paths: list[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()
