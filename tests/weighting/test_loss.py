from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer

from embedmerge.checkpoint.hub import locate
from embedmerge.checkpoint.layout import open_checkpoint
from embedmerge.errors import EmbedmergeError
from embedmerge.retrieval.encoder import Encoder
from embedmerge.sources import encoder_model
from embedmerge.weighting.examples import Example, load_examples
from embedmerge.weighting.loss import pool_losses

if TYPE_CHECKING:
    from pathlib import Path


def encoder(folder: Path) -> Encoder:
    return Encoder(encoder_model(open_checkpoint(locate(str(folder)))))


def test_pool_loss_is_cross_entropy_over_all_passages(base: Path, examples_file: Path) -> None:
    examples = load_examples(examples_file)
    model = SentenceTransformer(str(base), device="cpu")
    pool = list(dict.fromkeys(passage for row in examples for passage in (*row.pos, *row.neg)))
    queries = model.encode([row.query for row in examples], convert_to_tensor=True)
    scores = queries @ model.encode(pool, convert_to_tensor=True).T / 0.05
    targets = torch.tensor([pool.index(row.pos[0]) for row in examples])
    wanted = torch.nn.functional.cross_entropy(scores, targets, reduction="none").numpy()
    np.testing.assert_allclose(pool_losses(encoder(base), examples, 0.05), wanted, atol=2e-4)


def test_the_loss_of_a_row_does_not_depend_on_the_order_of_rows(base: Path, examples_file: Path) -> None:
    examples = load_examples(examples_file)
    forward = pool_losses(encoder(base), examples, 0.05)
    backward = pool_losses(encoder(base), examples[::-1], 0.05)[::-1]
    np.testing.assert_allclose(forward, backward, atol=1e-4)


def test_another_positive_of_the_same_row_is_no_negative(base: Path) -> None:
    text, other = "river water tree bird", "court law judge contract"
    twice = [Example("river water", (text, other), ("market price stock",))]
    single = [[Example("river water", (one,), ("market price stock",))] for one in (text, other)]
    model = encoder(base)
    apart = np.mean([pool_losses(model, rows, 0.05)[0] for rows in single])
    assert pool_losses(model, twice, 0.05)[0] == pytest.approx(apart, abs=1e-5)


def test_prompts_of_the_model_are_used(make_checkpoint, examples_file: Path) -> None:
    examples = load_examples(examples_file)
    plain = pool_losses(encoder(make_checkpoint("noprompt")), examples, 0.05)
    prompted = pool_losses(
        encoder(make_checkpoint("prompted", prompts={"query": "what is "})), examples, 0.05
    )
    by_hand = [Example("what is " + row.query, row.pos, row.neg) for row in examples]
    assert not np.allclose(plain, prompted, atol=1e-3)
    np.testing.assert_allclose(
        pool_losses(encoder(make_checkpoint("noprompt")), by_hand, 0.05), prompted, atol=1e-4
    )


def test_without_a_single_negative_there_is_no_loss(base: Path) -> None:
    with pytest.raises(EmbedmergeError, match="row 1 has no negative"):
        pool_losses(encoder(base), [Example("river", ("water",))], 0.05)
