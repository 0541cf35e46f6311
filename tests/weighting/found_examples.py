"""Examples that a given model gets right."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
from words import sentence

from embedmerge.retrieval.encoder import Encoder
from embedmerge.sources import SourceSpec, encoder_model, open_sources

if TYPE_CHECKING:
    from pathlib import Path


def write_examples_for(
    model: Path, file: Path, number: int = 24, seed: int = 7, passages_each: int = 4
) -> Path:
    """Examples whose positive is what one model ranks first, so that it finds them all."""
    random = np.random.default_rng(seed)
    queries = [sentence(random, 5) for _ in range(number)]
    passages = [sentence(random, 12) for _ in range(passages_each * number)]
    (source,), _ = open_sources([SourceSpec("model", str(model), "base")])
    encoder = Encoder(encoder_model(source.checkpoint))
    first = (encoder.embed(queries) @ encoder.embed(passages).T).argmax(axis=1)
    rows = [
        {"query": query, "pos": [passages[row]], "neg": [passages[(row + 1) % len(passages)]]}
        for query, row in zip(queries, first.tolist(), strict=True)
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file
