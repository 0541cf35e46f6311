"""The study's collections: cut-down test sets, training pairs, and examples that no expert has seen.

Everything is drawn with a digest of the row's id, so the same rows come out on any machine, in any order.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from embedmerge.atomic import new_folder
from embedmerge.harvest import harvest_library, write_beir
from embedmerge.retrieval.collection import Collection, read_collection

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from setting import Size

HARVESTED = ("torch", "scipy", "sklearn", "numpy", "transformers")  # docstrings of what is installed
HELD_OUT = 0.25  # of the training queries: examples are drawn from these
MOST_PAIRS = 6000
PAIRS_PER_QUERY = 3
MOST_RELEVANT = 15  # of a test query: some of nfcorpus have hundreds, and would fill the corpus alone
CHARACTERS = 700  # of a text: the study encodes at most 128 tokens
_NOT_ALPHANUMERIC = re.compile(r"[\W_]+")


@dataclass(frozen=True)
class Pair:
    """A training query with one of its relevant documents."""

    query_id: str
    query: str
    document: str


def collection_folder(name: str, data: Path, work: Path) -> Path:
    """Where a collection lies; docstrings are harvested on first use."""
    if name not in HARVESTED:
        return data / name
    folder = work / name
    if not folder.exists():
        write_beir(folder, harvest_library(name, characters=CHARACTERS))
    return folder


def draw(*words: object) -> float:
    """A number in [0, 1) that depends on the words alone."""
    digest = hashlib.sha256("/".join(map(str, words)).encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def write_cut(name: str, split: str, size: Size, data: Path, work: Path) -> Path:
    """A cut-down split as a BEIR folder."""
    folder = work / f"{split}s" / f"{name}-{size.skipped}-{size.queries}-{size.documents}" / name
    if folder.exists():
        return folder
    full = read_collection(collection_folder(name, data, work), split)
    queries = [query for query in full.queries if len(full.qrels[query["id"]]) <= MOST_RELEVANT]
    queries.sort(key=lambda row: draw("test query", name, row["id"]))
    queries = (queries[size.skipped :] + queries[: size.skipped])[: size.queries]
    kept: list[dict[str, str]] = []
    documents: set[str] = set()
    for query in queries:
        relevant = set(full.qrels[query["id"]])
        if not kept or len(documents | relevant) <= size.documents:
            kept.append(query)
            documents |= relevant
    filling = sorted(
        (row["id"] for row in full.corpus if row["id"] not in documents),
        key=lambda identity: draw("test document", name, identity),
    )
    documents.update(filling[: max(0, size.documents - len(documents))])
    write_task(
        folder,
        split,
        [
            {"_id": row["id"], "title": row["title"], "text": row["text"][:CHARACTERS]}
            for row in full.corpus
            if row["id"] in documents
        ],
        [{"_id": row["id"], "text": row["text"]} for row in kept],
        {row["id"]: full.qrels[row["id"]] for row in kept},
    )
    return folder


def write_task(
    folder: Path,
    split: str,
    corpus: Iterable[dict[str, str]],
    queries: Iterable[dict[str, str]],
    qrels: dict[str, dict[str, int]],
) -> None:
    """A BEIR folder of one split."""
    lines = [
        f"{query}\t{document}\t{grade}" for query, own in qrels.items() for document, grade in own.items()
    ]
    with new_folder(folder) as written:
        (written / "qrels").mkdir()
        _write_rows(written / "corpus.jsonl", corpus)
        _write_rows(written / "queries.jsonl", queries)
        (written / "qrels" / f"{split}.tsv").write_text(
            "\n".join(["query-id\tcorpus-id\tscore", *lines]) + "\n", encoding="utf-8"
        )


def _write_rows(path: Path, rows: Iterable[dict[str, str]]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def tested_queries(names: Sequence[str], data: Path, work: Path) -> set[str]:
    """Every query of every full test split, in letters and digits alone.

    squad-sent and xquad-en both come from SQuAD: a query of a test split must not be trained on under
    another collection's name.
    """
    splits = (read_collection(collection_folder(name, data, work), "test") for name in names)
    return {bare(query["text"]) for split in splits for query in split.queries}


def bare(text: str) -> str:
    """Letters and digits alone, in lower case."""
    return _NOT_ALPHANUMERIC.sub("", text.lower())


def training_rows(
    name: str, data: Path, work: Path, tested: set[str]
) -> tuple[list[Pair], list[Pair], Collection]:
    """Pairs to tune on, pairs held out for examples, and the collection's train split."""
    train = read_collection(collection_folder(name, data, work), "train")
    texts = {identity: text[:CHARACTERS] for identity, text in train.texts.items()}
    tuned, held = [], []
    for query in train.queries:
        if bare(query["text"]) in tested:
            continue
        relevant = sorted(
            train.qrels[query["id"]], key=lambda document: draw("positive", name, query["id"], document)
        )
        pairs = [Pair(query["id"], query["text"], texts[document]) for document in relevant[:PAIRS_PER_QUERY]]
        if draw("held out", name, bare(query["text"])) < HELD_OUT:
            held.append(pairs[0])
        else:
            tuned.extend(pairs)
    tuned.sort(key=lambda pair: draw("training pair", name, pair.query_id, pair.document))
    held.sort(key=lambda pair: draw("example", name, pair.query_id))
    return tuned[:MOST_PAIRS], held, train
