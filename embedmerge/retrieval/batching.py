"""Batches of texts: tokenised once, longest first, padded size within a token budget."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from embedmerge.retrieval.well_formed import all_well_formed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# Padded tokens. A batch that stays in a core's cache is computed fastest (eval/results/encode.md); an
# accelerator wants its units filled.
TOKENS_ON_CPU = 1024
TOKENS_ON_ACCELERATOR = 32_768


@dataclass(frozen=True)
class Batch:
    """Texts that are computed together.

    Attributes:
        rows: Which texts.
        features: Token ids, attention mask and what else the first module takes.
    """

    rows: list[int]
    features: dict[str, Any]


def token_budget(stated: int | None, device: str) -> int:
    """Padded tokens in a batch on a device.

    >>> token_budget(None, "cpu"), token_budget(64, "cuda")
    (1024, 64)
    """
    return stated or (TOKENS_ON_CPU if device == "cpu" else TOKENS_ON_ACCELERATOR)


def rows_by_length(lengths: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Rows of each batch, longest first, so that little is padded and memory is asked for at the start.

    Args:
        lengths: Tokens of each text.
        budget: Number of texts times tokens of the longest at most; a longer text is a batch of its own.

    >>> list(rows_by_length([3, 9, 4], 8))
    [[1], [2, 0]]
    """
    batch: list[int] = []
    for row in sorted(range(len(lengths)), key=lambda row: (-lengths[row], row)):
        if batch and lengths[batch[0]] * (len(batch) + 1) > budget:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


def tokenised_batches(stack: Any, texts: Sequence[str], prompt: str, budget: int) -> Iterator[Batch]:
    """Batches ready for the first module of a stack.

    Args:
        stack: A sentence-transformers model, whose own preprocessing is used.
        texts: Without the prompt.
        prompt: Put before every text.
        budget: As in `rows_by_length`.
    """
    unpadded = {"text": {"padding": False}, "common": {"return_tensors": None}}
    whole = dict(stack.preprocess(all_well_formed(texts), prompt=prompt or None, processing_kwargs=unpadded))
    by_text = {name: values for name, values in whole.items() if _is_by_text(values, len(texts))}
    of_all = {name: value for name, value in whole.items() if name not in by_text}
    lengths = [len(ids) for ids in by_text["input_ids"]]
    for rows in rows_by_length(lengths, budget):
        chosen = {name: [values[row] for row in rows] for name, values in by_text.items()}
        yield Batch(rows, {**stack.tokenizer.pad(chosen, return_tensors="pt"), **of_all})


def _is_by_text(values: Any, texts: int) -> bool:
    return isinstance(values, list) and len(values) == texts
