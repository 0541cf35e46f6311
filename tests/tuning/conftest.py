"""A base that can still learn, and a collection with a train split for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tuning_parts import write_training_collection
from words import WORDS, sentence

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def learner(make_checkpoint: Any) -> Path:
    """A base with prompts whose weights are small enough to learn. Read only."""
    prompts = {"query": "find ", "document": "text "}
    folder: Path = make_checkpoint("learner", spread=1, words=WORDS, prompts=prompts)
    return folder


@pytest.fixture(scope="session")
def law(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BEIR folder with 40 train, 20 dev and 20 test queries. Read only."""
    return write_training_collection(tmp_path_factory.mktemp("training") / "law")


@pytest.fixture(scope="session")
def lawful_rows() -> list[dict[str, Any]]:
    """Forty rows of a FlagEmbedding file with two negatives each."""
    random = np.random.default_rng(11)
    rows = []
    for _ in range(40):
        text = sentence(random, 10)
        negatives = [sentence(random, 10) for _ in range(2)]
        rows.append({"query": " ".join(text.split()[:4]), "pos": [text], "neg": negatives})
    return rows
