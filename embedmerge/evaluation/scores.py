"""What running a task on a model gives."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Side = Literal["target", "general"]
SIDES: tuple[Side, ...] = ("target", "general")


@dataclass(frozen=True)
class TaskScores:
    """One model on one task.

    Attributes:
        task: Name of the task.
        split: Split of the qrels.
        side: Whether the task stands for the target domain or for general retrieval.
        queries: Number of judged queries.
        ndcg_at_10: Mean nDCG@10 in points (0 to 100).
        recall_at_100: Mean recall@100 in points.
        per_query: nDCG@10 of every judged query, in points, by query id.
        ranked: The first ten documents' ids, best first, by query id; empty where they were not kept.
    """

    task: str
    split: str
    side: Side
    queries: int
    ndcg_at_10: float
    recall_at_100: float
    per_query: dict[str, float]
    ranked: dict[str, list[str]] = field(default_factory=dict)
