"""Harvested pairs as a BEIR folder: `corpus.jsonl`, `queries.jsonl` and `qrels/*.tsv`."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from embedmerge.atomic import new_folder
from embedmerge.errors import EmbedmergeError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from embedmerge.harvest.text import Docstring

Split = Literal["train", "dev", "test"]


@dataclass(frozen=True)
class Shares:
    """How much of a library is kept from training; what neither share takes is the train split.

    Attributes:
        test: Share of the test split.
        dev: Share of the dev split.
    """

    test: float = 0.2
    dev: float = 0.1


DEFAULT_SHARES = Shares()
# For a library that nobody trains on.
HELD_OUT = Shares(test=0.6, dev=0.4)


def _draw(seed: int, purpose: str, name: str) -> float:
    """A number in [0, 1) that depends on the name alone, so that a new docstring moves no other."""
    digest = hashlib.blake2b(f"{seed}\x00{purpose}\x00{name}".encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) / 2**53


def split_of(name: str, seed: int = 0, shares: Shares = DEFAULT_SHARES) -> Split:
    """The split a docstring belongs to.

    Args:
        name: Its qualified name.
        seed: Another seed, another split.
        shares: Sizes of the splits.

    Returns:
        "train", "dev" or "test", whatever else is in the library.
    """
    place = _draw(seed, "split", name)
    if place < shares.test:
        return "test"
    return "dev" if place < shares.test + shares.dev else "train"


def training_pairs(pairs: Iterable[Docstring], seed: int = 0) -> list[tuple[str, str]]:
    """(query, document) of every pair in the train split, in the order given."""
    return [(pair.summary, pair.body) for pair in pairs if split_of(pair.name, seed) == "train"]


def write_beir(
    folder: Path,
    pairs: Sequence[Docstring],
    *,
    documents: int | None = None,
    queries: int | None = None,
    seed: int = 0,
    shares: Shares = DEFAULT_SHARES,
) -> Path:
    """Write pairs as a BEIR folder that any tool reads.

    A small corpus keeps the test documents, then takes dev and train documents as distractors, drawn by hash.
    Queries and judgements whose document was left out are left out too, so the folder is complete in itself.

    Args:
        folder: Where to write; absent or empty.
        pairs: Harvested pairs with unique names.
        documents: Size to cut the corpus to; all by default. Test documents are kept even beyond it.
        queries: Most test queries to keep; all by default. The documents of the others count as distractors.
        seed: Seed of the split and of every draw.
        shares: Sizes of the splits.

    Returns:
        The folder.

    Raises:
        EmbedmergeError: The folder is occupied, names repeat, or no test query would be in it.
    """
    if len({pair.name for pair in pairs}) != len(pairs):
        msg = f"{folder}: two pairs have the same name; names are document ids and must be unique"
        raise EmbedmergeError(msg)
    parts: dict[Split, list[Docstring]] = {"dev": [], "test": [], "train": []}
    for pair in _drawn(pairs, seed):
        parts[split_of(pair.name, seed, shares)].append(pair)
    tested = parts["test"][:queries]
    if not tested:
        msg = (
            f"{folder}: none of {len(pairs)} pairs falls into the test split; harvest more or change the seed"
        )
        raise EmbedmergeError(msg)
    rest = parts["dev"] + parts["test"][len(tested) :] + parts["train"]
    extra = rest if documents is None else rest[: max(0, documents - len(tested))]
    judged: dict[Split, list[Docstring]] = {"train": [], "dev": [], "test": tested}
    for pair in extra:
        split = split_of(pair.name, seed, shares)
        if split != "test":
            judged[split].append(pair)
    _write(folder, tested + extra, judged)
    return folder


def _drawn(pairs: Iterable[Docstring], seed: int) -> list[Docstring]:
    return sorted(pairs, key=lambda pair: (_draw(seed, "sample", pair.name), pair.name))


def _query_id(pair: Docstring) -> str:
    # Some evaluators drop a document whose id equals its query's.
    return f"q:{pair.name}"


def _write(folder: Path, corpus: list[Docstring], judged: dict[Split, list[Docstring]]) -> None:
    corpus = sorted(corpus, key=lambda pair: pair.name)
    queries = sorted((pair for part in judged.values() for pair in part), key=lambda pair: pair.name)
    with new_folder(folder) as target:
        _write_lines(target / "corpus.jsonl", ({"_id": p.name, "title": "", "text": p.body} for p in corpus))
        _write_lines(target / "queries.jsonl", ({"_id": _query_id(p), "text": p.summary} for p in queries))
        (target / "qrels").mkdir()
        for split, part in judged.items():
            rows = sorted(f"{_query_id(pair)}\t{pair.name}\t1\n" for pair in part)
            text = "query-id\tcorpus-id\tscore\n" + "".join(rows)
            (target / "qrels" / f"{split}.tsv").write_text(text, encoding="utf-8")


def _write_lines(path: Path, rows: Iterable[dict[str, str]]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
