"""Examples that no expert was tuned on, with mined negatives, and draws of few from many."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
from domains import CHARACTERS, draw, training_rows

from embedmerge.weighting.examples import Example, load_examples
from embedmerge.weighting.pool import first_ranks

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from embedmerge.retrieval.encoder import Encoder

ROWS = 160
NEGATIVES = 7
MINED_FROM = 1500  # documents of the train split that negatives are mined from
SIZES = (5, 20, 100)
SEEDS = (0, 1, 2, 3, 4)


def write_pool(name: str, encoder: Encoder, data: Path, work: Path, tested: set[str]) -> Path:
    """Held-out rows of a domain, each with the seven wrong documents that the base ranks highest."""
    path = work / "pools" / f"{name}.jsonl"
    if path.exists():
        return path
    _, held, train = training_rows(name, data, work, tested)
    held = held[:ROWS]
    texts = {identity: text[:CHARACTERS] for identity, text in train.texts.items()}
    right = [{texts[document] for document in train.qrels[pair.query_id]} for pair in held]
    others = sorted(texts, key=lambda identity: draw("mined", name, identity))[:MINED_FROM]
    documents = list(
        dict.fromkeys([pair.document for pair in held] + [texts[identity] for identity in others])
    )
    queries = encoder.pooled([pair.query for pair in held], encoder.model.prompt("query"))
    passages = encoder.pooled(documents, encoder.model.prompt("document"))
    lines = []
    for pair, own, ranked in zip(held, right, first_ranks(queries, passages), strict=True):
        wrong = [documents[row] for row in ranked if documents[row] not in own][:NEGATIVES]
        lines.append(json.dumps({"query": pair.query, "pos": [pair.document], "neg": wrong}))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def drawn(examples: Sequence[Example], number: int, seed: int) -> list[Example]:
    """A user's few examples."""
    rows = np.random.default_rng([seed, number]).permutation(len(examples))[:number]
    return [examples[row] for row in sorted(rows.tolist())]


def read_pool(name: str, work: Path) -> list[Example]:
    """The rows that `write_pool` wrote."""
    return load_examples(work / "pools" / f"{name}.jsonl")
