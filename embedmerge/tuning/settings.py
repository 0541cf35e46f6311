"""How rows are prepared and how weights are trained on them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from embedmerge.errors import EmbedmergeError

Measure = Literal["ndcg_at_10", "loss"]
Leakage = Literal["refuse", "drop", "allow"]

EXAMPLES = 0.1  # share of the queries that weights are chosen on, where there are weights to choose
FULL_RATE = 2e-4
LORA_RATE = 2e-3  # a low-rank step moves the weights less


@dataclass(frozen=True)
class Tuning:
    """Settings of a fine-tuning run.

    Attributes:
        steps: Optimiser steps; `epochs` passes over the rows where None, at most `most_steps`.
        epochs: Passes over the rows.
        most_steps: Steps at most, where `steps` is None.
        batch_size: Rows per step; the passages of the other rows of a batch are each query's negatives.
        mini_batch_size: Texts that go through the network at a time. A larger batch goes piece by piece, with
            the same gradients and bounded memory (GradCache, Gao et al. 2021, arXiv 2101.06983).
        learning_rate: Peak of the linear schedule; 2e-4, and 2e-3 for LoRA, where None.
        warmup_ratio: Share of the steps during which the rate rises.
        max_seq_length: Tokens per text while tuning; the written model keeps the base's own limit.
        temperature: Similarities are divided by it in the loss.
        seed: Seed of the batch order, of LoRA's first factors and of dropout.
        precision: "fp32", "bf16" (autocast) or "auto": bf16 where the processor has it natively.
        matryoshka: Lengths that the first numbers of an embedding are to be good at alone (Kusupati et al.
            2022, arXiv 2205.13147); the whole length always is. Empty for none.
        lora: Rank of a LoRA adapter (Hu et al. 2021, arXiv 2106.09685) on every linear layer, whose products
            are added to the base's weights in the end; all weights are tuned where None.
        lora_alpha: The products are scaled by `lora_alpha / lora`; twice the rank where None.
        lora_dropout: Dropout before the adapter's first factor.
        gradient_checkpointing: Compute activations again on the way back instead of keeping them.
        evaluations: How often in all the held-out queries are looked at, evenly spread.
        patience: Looks without a better one after which tuning stops.
        stop_by: What is better: a higher nDCG@10 or a lower loss on the held-out queries.
    """

    steps: int | None = None
    epochs: float = 4.0
    most_steps: int = 70
    batch_size: int = 32
    mini_batch_size: int = 32
    learning_rate: float | None = None
    warmup_ratio: float = 0.1
    max_seq_length: int = 128
    temperature: float = 0.05
    seed: int = 0
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    matryoshka: tuple[int, ...] = ()
    lora: int | None = None
    lora_alpha: float | None = None
    lora_dropout: float = 0.0
    gradient_checkpointing: bool = False
    evaluations: int = 5
    patience: int = 3
    stop_by: Measure = "ndcg_at_10"

    @property
    def rate(self) -> float:
        """The peak learning rate."""
        return self.learning_rate or (LORA_RATE if self.lora else FULL_RATE)

    @property
    def alpha(self) -> float:
        """LoRA's alpha."""
        return self.lora_alpha or 2.0 * (self.lora or 0)

    def planned_steps(self, rows: int) -> int:
        """Optimiser steps for so many rows.

        >>> Tuning(epochs=2, batch_size=10, most_steps=50).planned_steps(101)
        21
        """
        if self.steps is not None:
            return self.steps
        return max(1, min(self.most_steps, math.ceil(self.epochs * rows / self.batch_size)))

    def require_valid(self) -> None:
        """Check every number.

        Raises:
            EmbedmergeError: One makes no sense.
        """
        above_zero = (
            *("epochs", "most_steps", "batch_size", "mini_batch_size", "max_seq_length", "temperature"),
            *("evaluations", "patience"),
            *(name for name in ("steps", "learning_rate", "lora", "lora_alpha") if _given(self, name)),
        )
        for name in above_zero:
            if not 0 < getattr(self, name) < math.inf:
                raise EmbedmergeError(f"{name}: {getattr(self, name)} found; must be above 0")
        for name, below in (("warmup_ratio", 1.0), ("lora_dropout", 0.99)):
            if not 0 <= getattr(self, name) <= below:
                raise EmbedmergeError(f"{name}: {getattr(self, name)} found; must be from 0 to {below:g}")
        _require_one_of("precision", self.precision, ("auto", "fp32", "bf16"))
        _require_one_of("stop_by", self.stop_by, ("ndcg_at_10", "loss"))
        if any(dimension < 1 for dimension in self.matryoshka):
            raise EmbedmergeError(f"matryoshka: {list(self.matryoshka)} found; lengths are at least 1")


@dataclass(frozen=True)
class Preparation:
    """How training rows are made of a collection.

    Attributes:
        negatives: Hard negatives of each row: those in the data first, then mined ones; 0 for in-batch
            negatives alone.
        mine: Whether what the data lack is mined with the base; drawn at random where not.
        margin: False-negative margin: a mined passage is at least this share of the positive's similarity
            further from the query than the positive (NV-Retriever, Moreira et al. 2024, arXiv 2407.15831).
        most_passages: Passages that are mined among, the positives of all rows first.
        held_out: Share of the training queries that is held out to stop by; 0 for none.
        most_held_out: Queries that are held out at most.
        examples: Share of the training queries that tuning does not look at at all, so that weights can be
            chosen on them; at most `most_held_out` of them too.
        pool: Passages that the held-out queries are to be found among at most: what is relevant to them, what
            the base ranks high, and a draw of the rest.
        leakage: What to do with training queries that a test asks too: `refuse`, `drop` or `allow`.
        seed: Of every draw.
    """

    negatives: int = 1
    mine: bool = True
    margin: float = 0.05
    most_passages: int = 3000
    held_out: float = 0.1
    most_held_out: int = 200
    examples: float = 0.0
    pool: int = 500
    leakage: Leakage = "refuse"
    seed: int = 0

    def require_valid(self) -> None:
        """Check every number.

        Raises:
            EmbedmergeError: One makes no sense.
        """
        if not 0 <= self.negatives <= 100:
            raise EmbedmergeError(f"negatives: {self.negatives} found; must be from 0 to 100")
        for name in ("margin", "held_out", "examples"):
            if not 0 <= getattr(self, name) <= 0.5:
                raise EmbedmergeError(f"{name}: {getattr(self, name)} found; must be from 0 to 0.5")
        for name in ("most_passages", "most_held_out", "pool"):
            if getattr(self, name) < 1:
                raise EmbedmergeError(f"{name}: {getattr(self, name)} found; must be above 0")
        _require_one_of("leakage", self.leakage, ("refuse", "drop", "allow"))


def _given(settings: Tuning, name: str) -> bool:
    return getattr(settings, name) is not None


def _require_one_of(name: str, found: str, known: tuple[str, ...]) -> None:
    if found not in known:
        raise EmbedmergeError(f"{name}: {found!r} found; must be {', '.join(known[:-1])} or {known[-1]}")
