"""Texts and collections made of a few dozen words, which the tiny checkpoints' tokenizers know."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

TEXT = (
    "how do i merge two models average their weights tensor by the query document index search a bank loan "
    "court law judge contract cell protein gene disease drug market price stock river water tree bird house "
    "what is are of in to and for with on at from about python code function loop list map open close read"
)
WORDS = list(dict.fromkeys(TEXT.split()))


def sentence(random: np.random.Generator, length: int) -> str:
    """Some words."""
    return " ".join(random.choice(WORDS, size=length))


def write_collection(folder: Path, seed: int, documents: int = 60, queries: int = 40) -> Path:
    """A BEIR folder whose queries are the first words of a document; half are test, half dev."""
    random = np.random.default_rng(seed)
    texts = [sentence(random, 14) for _ in range(documents)]
    (folder / "qrels").mkdir(parents=True)
    with (folder / "corpus.jsonl").open("w") as corpus:
        for number, text in enumerate(texts):
            corpus.write(json.dumps({"_id": f"d{number}", "title": f"bank {number}", "text": text}) + "\n")
    with (folder / "queries.jsonl").open("w") as file:
        for number in range(queries):
            words = texts[number].split()[:3] + texts[-1 - number].split()[:2]
            file.write(json.dumps({"_id": f"q{number}", "text": " ".join(words)}) + "\n")
    for split, parity in (("test", 0), ("dev", 1)):
        rows = "".join(f"q{number}\td{number}\t1\n" for number in range(queries) if number % 2 == parity)
        (folder / "qrels" / f"{split}.tsv").write_text("query-id\tcorpus-id\tscore\n" + rows)
    return folder
