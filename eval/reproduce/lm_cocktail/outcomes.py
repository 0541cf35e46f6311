"""What every choice came to on its target and on all others."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np
from choose import LM_TWO, OURS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from study import Study

    Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class Outcome:
    """A model on one target.

    Attributes:
        target: nDCG@10 on the target's test set.
        others: Mean over all other test sets.
        gain: Target minus the base's.
        gain_tuned: The fine-tune's own gain.
        forgetting: Others minus the base's.
    """

    target: float
    others: float
    gain: float
    gain_tuned: float
    forgetting: float

    @classmethod
    def mean(cls, outcomes: Sequence[Outcome]) -> Outcome:
        """The mean over draws."""
        return cls(*(fmean(getattr(each, field.name) for each in outcomes) for field in fields(cls)))


class Scores:
    """Scores of base, experts and choices on all sets.

    Args:
        study: Whose stage `test` has been run.
    """

    def __init__(self, study: Study) -> None:
        record = json.loads((study.work / "scores.json").read_text(encoding="utf-8"))
        self.targets = study.setting.targets
        self.sizes = study.setting.sizes
        self.sets: list[str] = record["sets"]
        self.alone = {name: np.array(scores) for name, scores in record["alone"].items()}
        self.choices: list[dict[str, Any]] = record["choices"]
        self.ceilings: dict[str, dict[str, list[float]]] = record["ceilings"]
        self.triangles: dict[str, list[list[list[float]]]] = record["triangles"]
        self.lines: dict[str, dict[str, list[list[float]]]] = record["lines"]

    def outcome(self, target: str, scores: Float64) -> Outcome:
        """What scores on all sets mean for one target.

        Args:
            target: A domain.
            scores: Shape (sets,).
        """
        own = self.sets.index(target)
        base, tuned = self.alone["base"], self.alone[target]
        others = float(np.delete(scores, own).mean())
        return Outcome(
            float(scores[own]),
            others,
            float(scores[own] - base[own]),
            float(tuned[own] - base[own]),
            others - float(np.delete(base, own).mean()),
        )

    def of_row(self, row: str, examples: int | None = None) -> list[dict[str, Any]]:
        """The choices of a row, from so many examples or from any number."""
        return [
            choice
            for choice in self.choices
            if choice["row"] == row and examples in (None, choice["examples"])
        ]

    def outcomes(self, row: str, examples: int | None, target: str) -> list[Outcome]:
        """One outcome per draw."""
        return [
            self.outcome(target, np.array(choice["scores"]))
            for choice in self.of_row(row, examples)
            if choice["target"] == target
        ]

    def there(self, examples: int) -> list[str]:
        """Our rows that have been chosen from so many examples."""
        return [row for row in OURS if self.of_row(row, examples)]


def verdict(ours: Outcome, theirs: Outcome, equal: float = 0.1) -> str:
    """Ahead on both sides, or on one by a point at an equal other; dominated; or neither.

    Args:
        ours: One model.
        theirs: Another.
        equal: Points that count as equal.
    """
    target, others = ours.target - theirs.target, ours.others - theirs.others
    if (target > 0 and others > 0) or (target >= 1 and others > -equal) or (others >= 1 and target > -equal):
        return "ahead"
    return "dominated" if target <= 0 and others <= 0 else "neither"


def gain_kept(outcomes: Sequence[Outcome]) -> float:
    """Percent of the fine-tunes' gain, over all targets: on one alone it may be next to nothing."""
    return 100 * sum(each.gain for each in outcomes) / sum(each.gain_tuned for each in outcomes)


def first_examples(scores: Scores, row: str) -> int:
    """Number of examples of a row that models are compared at, 0 where it takes none."""
    if row == LM_TWO:
        return 0
    there = {choice["examples"] for choice in scores.of_row(row)}
    return next((size for size in scores.sizes if size in there), min(there))
