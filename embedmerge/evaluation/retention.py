"""What a model keeps of the fine-tune's gain, and what it forgets of the base's general retrieval."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from embedmerge.evaluation.paired import difference, mean_resampled
from embedmerge.retrieval.uncertainty import middle

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from embedmerge.evaluation.paired import PairedTask
    from embedmerge.evaluation.scores import Side

SMALLEST_GAIN = 0.5  # points; a share of less than this says nothing


@dataclass(frozen=True)
class Measured:
    """A number with its 95 % bootstrap interval over queries.

    Attributes:
        value: Points or percent.
        low: Lower end; None where the interval has no end.
        high: Upper end; None likewise.
    """

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Retention:
    """One model between the base and the fine-tune.

    Attributes:
        gain_kept: Percent of the fine-tune's target gain on the base that the model has; None without
            target tasks or a fine-tune, or where the fine-tune gained less than half a point.
        forgotten: Points of general nDCG@10 by which it is below the base, negative where it is above;
            None without general tasks.
        won_back: Percent of what the fine-tune forgot that the model has again; None without general
            tasks or a fine-tune, or where the fine-tune forgot less than half a point.
    """

    gain_kept: Measured | None
    forgotten: Measured | None
    won_back: Measured | None


def retention(
    tasks: Mapping[Side, Sequence[PairedTask]], models: Sequence[str], base: str | None, fine_tune: str | None
) -> dict[str, Retention]:
    """Gain kept and forgetting of every model but the base; nothing without a base.

    Args:
        tasks: By side; a side without any is absent.
        models: Names of the models.
        base: Name of the base.
        fine_tune: Name of the target expert.
    """
    if base is None:
        return {}
    target, general = tasks.get("target", ()), tasks.get("general", ())
    return {
        model: Retention(
            gain_kept=_share(target, (model, base), (fine_tune, base)) if fine_tune else None,
            forgotten=_forgotten(general, model, base),
            won_back=_share(general, (model, fine_tune), (base, fine_tune)) if fine_tune else None,
        )
        for model in models
        if model != base
    }


def _forgotten(tasks: Sequence[PairedTask], model: str, base: str) -> Measured | None:
    if not tasks:
        return None
    lost = difference(tasks, base, model)
    return Measured(lost.points, lost.low, lost.high)


def _share(tasks: Sequence[PairedTask], part: tuple[str, str], whole: tuple[str, str]) -> Measured | None:
    """One difference in percent of another.

    Both are resampled together. Where the whole may be nothing, the share may be anything, and the interval
    has no ends (Fieller 1954).
    """
    if not tasks:
        return None
    of = difference(tasks, *whole)
    if of.points < SMALLEST_GAIN:
        return None
    value = round(100 * difference(tasks, *part).points / of.points, 1)
    if not of.is_real:
        return Measured(value, None, None)
    wholes = mean_resampled(tasks, *whole)
    low, high = middle(100 * mean_resampled(tasks, *part) / np.maximum(wholes, 1e-9))
    return Measured(value, round(low, 1), round(high, 1))
