"""Parts of the training queries that are not trained on."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from embedmerge.errors import EmbedmergeError
from embedmerge.tuning.same_text import comparable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from embedmerge.tuning.rows import Row, TrainingData
    from embedmerge.tuning.settings import Preparation

FEWEST = 8  # held-out queries below which a measure says nothing


@dataclass(frozen=True)
class Parts:
    """The rows of the data by what they are for.

    Attributes:
        held_out: What tuning stops by.
        examples: What it does not look at, for weights to be chosen on.
        training: What it trains on.
    """

    held_out: list[Row]
    examples: list[Row]
    training: list[Row]

    @classmethod
    def of(cls, data: TrainingData, preparation: Preparation) -> Parts:
        """Split the rows as asked.

        Raises:
            EmbedmergeError: There are too few to hold out the examples that are asked for.
        """
        number = len(data.rows)
        shares = (preparation.held_out, preparation.examples)
        sizes = [held_out_size(number, share, preparation.most_held_out) for share in shares]
        if preparation.examples and not sizes[1]:
            share = FEWEST / number
            more = f"give --examples {share:.2f} or more rows" if share <= 0.5 else "give more rows"
            msg = (
                f"{data.name}: of {number} queries, {preparation.examples:g} are fewer than {FEWEST}; {more}"
            )
            raise EmbedmergeError(msg)
        return cls(*split_off(data.rows, sizes, preparation.seed))


def held_out_size(rows: int, share: float, most: int) -> int:
    """How many queries a part of so many rows gets; none where it would be too few to say anything.

    >>> held_out_size(800, 0.1, 200), held_out_size(50, 0.1, 200), held_out_size(9000, 0.1, 200)
    (80, 0, 200)
    """
    size = min(round(share * rows), most)
    return size if size >= FEWEST else 0


def split_off(rows: Sequence[Row], sizes: Sequence[int], seed: int) -> list[list[Row]]:
    """Parts of at most these sizes, and what is left as the last one.

    Queries that share a positive passage or say the same stay together, so that nothing of a part has been
    trained on. Where nearly all hang together, a part is drawn query by query, and only those that say the
    same stay together.

    Args:
        rows: Training rows.
        sizes: How many rows each part should have.
        seed: Of the draw.

    Returns:
        One list for each size, then the rest; each in the order of `rows`.
    """
    labels = _groups(rows, passages=True)
    if np.bincount(labels).max(initial=0) > len(rows) - 2 * sum(sizes):
        labels = _groups(rows, passages=False)
    members: dict[int, list[int]] = {}
    for place, label in enumerate(labels.tolist()):
        members.setdefault(label, []).append(place)
    order = sorted(members)
    random.Random(seed).shuffle(order)
    parts: list[list[int]] = [[] for _ in (*sizes, None)]
    for label in order:
        part = next((p for p, size in enumerate(sizes) if len(parts[p]) + len(members[label]) <= size), -1)
        parts[part] += members[label]
    return [[rows[place] for place in sorted(part)] for part in parts]


def _groups(rows: Sequence[Row], *, passages: bool) -> np.ndarray:
    """A label for each row; rows that share a query, or also a passage, have the same."""
    column_of: dict[tuple[str, str], int] = {}
    places, columns = [], []
    for place, row in enumerate(rows):
        keys = [("query", comparable(row.query)), *(("passage", text) for text in row.pos if passages)]
        for key in keys:
            places.append(place)
            columns.append(len(rows) + column_of.setdefault(key, len(column_of)))
    nodes = len(rows) + len(column_of)
    graph = coo_array((np.ones(len(places)), (places, columns)), shape=(nodes, nodes))
    labels: np.ndarray = connected_components(graph, directed=False)[1]
    return labels[: len(rows)]
