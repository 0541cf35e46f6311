"""Training pairs with hard negatives: those in the data, else mined with the base, else drawn."""

from __future__ import annotations

import random
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from embedmerge.sampling import drawn

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from embedmerge.tuning.base_view import BaseView
    from embedmerge.tuning.rows import Row
    from embedmerge.tuning.settings import Preparation

Pair = tuple[str, ...]


@dataclass
class Negatives:
    """Where the negatives of the training pairs come from.

    Attributes:
        given: Found in the data.
        mined: Mined with the base.
        drawn: Drawn at random, where neither had enough.
    """

    given: int = 0
    mined: int = 0
    drawn: int = 0

    def count(self, given: Sequence[str], mined: Sequence[str], drawn: Sequence[str]) -> None:
        """Note those of one more pair."""
        self.given += len(given)
        self.mined += len(mined)
        self.drawn += len(drawn)

    @property
    def facts(self) -> dict[str, int]:
        """By name."""
        return asdict(self)


def training_pairs(rows: Sequence[Row], most: int, seed: int) -> list[Row]:
    """One row for each query and positive of it, a seeded draw where there are more than are ever looked at.

    Args:
        rows: Training rows.
        most: How many at most.
        seed: Of the draw.
    """
    places = [(place, positive) for place, row in enumerate(rows) for positive in row.pos]
    chosen = [places[at] for at in drawn(len(places), most, seed)]
    return [_of_positive(rows[place], positive) for place, positive in chosen]


def _of_positive(row: Row, positive: str) -> Row:
    """The row with this positive first; the others stay known, so that none becomes its negative."""
    return replace(row, pos=(positive, *(text for text in row.pos if text != positive)))


def with_negatives(
    pairs: Sequence[Row], view: BaseView, preparation: Preparation
) -> tuple[list[Pair], Negatives]:
    """(query, positive, negative, ...) for each pair, all of one length.

    Args:
        pairs: From `training_pairs`.
        view: What is mined among, the positives of the pairs among it.
        preparation: How many, and how they are mined.

    Returns:
        The pairs, and where their negatives come from.
    """
    number, counts = preparation.negatives, Negatives()
    lacking = [pair for pair in pairs if len(pair.neg) < number]
    mined = _mined(lacking, view, preparation) if lacking and preparation.mine else {}
    generator = random.Random(preparation.seed)
    completed: list[Pair] = []
    for pair in pairs:
        given = generator.sample(pair.neg, min(number, len(pair.neg)))
        found = _others(mined.get(pair.query, ()), {*pair.pos, *given}, number - len(given))
        left = number - len(given) - len(found)
        drawn = _drawn(view.passages, {*pair.pos, *given, *found}, left, generator)
        counts.count(given, found, drawn)
        completed.append((pair.query, pair.pos[0], *given, *found, *drawn))
    shortest = min(map(len, completed))  # a corpus may be smaller than the number asked for
    return [row[:shortest] for row in completed], counts


def _others(texts: Iterable[str], taken: set[str], number: int) -> list[str]:
    return [text for text in texts if text not in taken][:number]


def _drawn(passages: Sequence[str], taken: set[str], number: int, generator: random.Random) -> list[str]:
    if number < 1:
        return []
    places = generator.sample(range(len(passages)), min(len(passages), number + len(taken)))
    return _others((passages[place] for place in places), taken, number)


def _mined(pairs: Sequence[Row], view: BaseView, preparation: Preparation) -> dict[str, list[str]]:
    """Query -> passages that the base ranks high and that are far enough below its positives, best first."""
    from datasets import Dataset
    from sentence_transformers.util import mine_hard_negatives

    judged = {pair.query: pair.pos for pair in pairs}
    flat = [(query, positive) for query, own in judged.items() for positive in own if positive in view]
    rows = Dataset.from_dict({"query": [q for q, _ in flat], "positive": [p for _, p in flat]})
    found = mine_hard_negatives(
        rows,
        _Base(view),
        corpus=list(view.passages),
        num_negatives=preparation.negatives,
        relative_margin=preparation.margin,
        sampling_strategy="top",
        output_format="triplet",
        use_faiss=True,
        verbose=False,
    )
    mined: dict[str, dict[str, None]] = {}
    for query, negative in zip(found["query"], found["negative"], strict=True):
        mined.setdefault(query, {})[negative] = None
    return {query: list(texts) for query, texts in mined.items()}


class _Base:
    """What `mine_hard_negatives` asks of a model."""

    device = "cpu"

    def __init__(self, view: BaseView) -> None:
        self._view = view

    def get_embedding_dimension(self) -> int:
        return int(self._view.of_passages(self._view.passages[:1]).shape[1])

    def encode_query(self, texts: list[str], **_: Any) -> Any:
        return self._view.of_queries(texts)

    def encode_document(self, texts: list[str], **_: Any) -> Any:
        return self._view.of_passages(texts)

    def similarity_pairwise(self, queries: Any, passages: Any) -> Any:
        import torch

        return torch.from_numpy((queries * passages).sum(axis=1))
