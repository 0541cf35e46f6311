"""Settings, collections and files that the tests of tuning share."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
from words import sentence

from embedmerge.tuning import Preparation, Tuning

if TYPE_CHECKING:
    from pathlib import Path

SETTINGS = Tuning(
    steps=8, batch_size=8, learning_rate=3e-3, max_seq_length=24, precision="fp32", evaluations=4, patience=9
)
PREPARATION = Preparation(held_out=0.2, margin=0)  # the tiny base finds all texts alike


def write_training_collection(folder: Path, seed: int = 7, documents: int = 80) -> Path:
    """A BEIR folder whose queries are words of a document: half train, a quarter dev, a quarter test."""
    random = np.random.default_rng(seed)
    texts = [sentence(random, 10) for _ in range(documents)]
    (folder / "qrels").mkdir(parents=True)
    rows = ({"_id": f"d{n}", "title": "", "text": text} for n, text in enumerate(texts))
    asked = ({"_id": f"q{n}", "text": " ".join(text.split()[2:6])} for n, text in enumerate(texts))
    for name, content in (("corpus", rows), ("queries", asked)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in content))
    for split, part in (("train", (0, 1)), ("dev", (2,)), ("test", (3,))):
        lines = "".join(f"q{n}\td{n}\t1\n" for n in range(documents) if n % 4 in part)
        (folder / "qrels" / f"{split}.tsv").write_text("query-id\tcorpus-id\tscore\n" + lines)
    return folder


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
