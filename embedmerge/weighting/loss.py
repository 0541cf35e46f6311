"""Retrieval loss of one model on the examples."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.special import logsumexp

from embedmerge.errors import EmbedmergeError
from embedmerge.retrieval.vectors import normalised

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from embedmerge.retrieval.encoder import Encoder
    from embedmerge.weighting.examples import Example

    Losses = NDArray[np.float64]


def pool_losses(encoder: Encoder, examples: Sequence[Example], temperature: float) -> Losses:
    """InfoNCE of each example against all passages of all examples.

    Every passage of the pool but the example's own positives is a negative, so the loss depends
    neither on a batch size nor on the order of the rows. With several positives each is scored
    against the negatives alone and the losses are averaged. Queries and passages carry the model's
    own prompts; similarity is the cosine.

    Args:
        encoder: The model.
        examples: At least one, with at least one passage that is a negative to some query.
        temperature: Divides the cosine.

    Returns:
        Array of shape (examples,).

    Raises:
        EmbedmergeError: Some example has no negative in the whole pool.
    """
    pool = list(dict.fromkeys(passage for example in examples for passage in (*example.pos, *example.neg)))
    row_of = {passage: row for row, passage in enumerate(pool)}
    model = encoder.model
    queries = encoder.embed([example.query for example in examples], model.prompt("query"))
    passages = encoder.embed(pool, model.prompt("document"))
    scores = normalised(queries) @ normalised(passages).T / np.float32(temperature)
    losses = np.empty(len(examples))
    for index, example in enumerate(examples):
        positives = sorted({row_of[passage] for passage in example.pos})
        if len(positives) == len(pool):
            msg = (
                f"examples: row {index + 1} has no negative, its own or another row's; add `neg` or more rows"
            )
            raise EmbedmergeError(msg)
        losses[index] = _infonce(scores[index].astype(np.float64), positives)
    return losses


def _infonce(scores: NDArray[np.float64], positives: Sequence[int]) -> float:
    negatives = logsumexp(np.delete(scores, positives))
    return float(np.mean([np.logaddexp(scores[row], negatives) - scores[row] for row in positives]))


def in_batch_loss(
    encoder: Encoder, examples: Sequence[Example], batch_size: int, temperature: float
) -> float:
    """LM_Cocktail 0.0.4's loss: first positive, candidates of the batch, CLS pooling, no prompts.

    The last batch counts as much as the others, however few rows it has, as it does there.

    Args:
        encoder: The model.
        examples: With equally many negatives each.
        batch_size: Queries whose passages are candidates for one another.
        temperature: Divides the cosine; 0.05 there.
    """
    queries = normalised(encoder.pooled([example.query for example in examples], pooling="cls"))
    passages = [passage for example in examples for passage in (example.pos[0], *example.neg)]
    vectors = normalised(encoder.pooled(passages, pooling="cls"))
    group = len(passages) // len(examples)
    losses = []
    for start in range(0, len(examples), batch_size):
        rows = range(start, min(start + batch_size, len(examples)))
        candidates = vectors[rows.start * group : rows.stop * group]
        scores = (queries[rows.start : rows.stop] @ candidates.T / np.float32(temperature)).astype(np.float64)
        own = scores[np.arange(len(rows)), np.arange(len(rows)) * group]
        losses.append(np.mean(logsumexp(scores, axis=1) - own))
    return float(np.mean(losses))
