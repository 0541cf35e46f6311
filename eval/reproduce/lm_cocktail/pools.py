"""Examples that no expert was tuned on, with mined negatives, and draws of few from many."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
from domains import CHARACTERS, draw, write_task

from embedmerge.weighting.examples import Example, load_examples
from embedmerge.weighting.pool import first_ranks

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from study import Study

    from embedmerge.retrieval.encoder import Encoder

NEGATIVES = 7


def write_pool(study: Study, name: str, encoder: Encoder) -> Path:
    """Held-out rows of a domain, each with the seven wrong documents that the base ranks highest."""
    path = pool_file(study, name)
    if path.exists():
        return path
    _, held, train = study.training_rows(name)
    held = held[: study.setting.rows]
    texts = {identity: text[:CHARACTERS] for identity, text in train.texts.items()}
    right = [{texts[document] for document in train.qrels[pair.query_id]} for pair in held]
    others = sorted(texts, key=lambda identity: draw("mined", name, identity))[: study.setting.mined_from]
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


def read_pool(study: Study, name: str) -> list[Example]:
    """The rows that `write_pool` wrote."""
    return load_examples(pool_file(study, name))


def pool_file(study: Study, name: str) -> Path:
    """Where a domain's held-out rows lie."""
    return study.work / "pools" / f"{name}.jsonl"


def guard_task(study: Study, name: str) -> str:
    """The same queries as a labelled task for a guard: a BEIR folder and its split.

    Its other documents are drawn, not mined: a task of what the base ranks highest by mistake is one that any
    other model does better on.
    """
    folder = study.work / "guards" / name
    if not folder.exists():
        _, held, train = study.training_rows(name)
        texts = {identity: text[:CHARACTERS] for identity, text in train.texts.items()}
        identity_of = {text: identity for identity, text in texts.items()}
        held = held[: study.setting.rows]
        relevant = {pair.query_id: identity_of[pair.document] for pair in held}
        drawn_others = sorted(texts, key=lambda identity: draw("guard", name, identity))
        kept = list(dict.fromkeys([*relevant.values(), *drawn_others]))[: study.setting.guarded]
        known = set(kept)
        write_task(
            folder,
            "dev",
            ({"_id": identity, "text": texts[identity]} for identity in kept),
            ({"_id": pair.query_id, "text": pair.query} for pair in held),
            {
                query: {
                    document: grade for document, grade in train.qrels[query].items() if document in known
                }
                for query in relevant
            },
        )
    return f"{folder}:dev"
