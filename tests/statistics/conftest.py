"""What the statistics of tiny checkpoints are compared with: their own modules, loaded plainly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from embedmerge.checkpoint.hub import locate
from embedmerge.checkpoint.layout import open_checkpoint
from embedmerge.retrieval.encoder import Encoder
from embedmerge.retrieval.settings import EncodingSettings
from embedmerge.sources import encoder_model
from embedmerge.statistics.stack import Stack
from embedmerge.statistics.text import Text

WORDS = [
    "merge",
    "two",
    "models",
    "weights",
    "bank",
    "loan",
    "court",
    "law",
    "cell",
    "river",
    "water",
    "tree",
]

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture(scope="session")
def stack_of() -> Callable[..., Stack]:
    """Opens a folder as the passes over text do; keywords are encoding settings."""

    def stack_of(folder: Path, **settings: Any) -> Stack:
        checkpoint = open_checkpoint(locate(str(folder)))
        return Stack(Encoder(encoder_model(checkpoint), EncodingSettings(**settings)), checkpoint)

    return stack_of


@pytest.fixture(scope="session")
def texts() -> list[Text]:
    """Texts of very different lengths, some of them queries. Read only."""
    random = np.random.default_rng(7)
    lengths = (3, 12, 1, 25, 8, 40, 5, 17, 2)
    contents = [" ".join(random.choice(WORDS, size=length)) for length in lengths]
    return [Text(text, "query" if row % 4 == 1 else "document") for row, text in enumerate(contents)]


@pytest.fixture(scope="session")
def prompted(make_checkpoint: Any) -> Path:
    """A BERT whose prompts differ between queries and documents. Read only."""
    return make_checkpoint("prompted", prompts={"query": "what is ", "document": "about the "})
