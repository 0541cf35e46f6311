"""What the numbers of a comparison say, in plain sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING

from embedmerge.evaluation.flips import ANSWERED
from embedmerge.evaluation.retention import SMALLEST_GAIN

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from embedmerge.evaluation.compare import Cell
    from embedmerge.evaluation.flips import Flips
    from embedmerge.evaluation.retention import Measured, Retention
    from embedmerge.evaluation.scores import Side
    from embedmerge.evaluation.significance import Difference


def verdict(
    means: Mapping[Side, Mapping[str, Cell]],
    base: str | None,
    fine_tune: str | None,
    merged: str | None,
    retention: Mapping[str, Retention],
    flips: Sequence[Flips],
) -> tuple[str, ...]:
    """What to take away first, then each side in numbers; nothing without a merged model."""
    if merged is None:
        return ()
    return (
        *_headline(means, base, fine_tune, merged),
        *(_side_sentence(side, cells[merged], fine_tune) for side, cells in means.items()),
        *_gain_sentence(retention.get(merged)),
        *(_flips_sentence(found) for found in flips if (found.model, found.reference) == (merged, base)),
    )


def _headline(
    means: Mapping[Side, Mapping[str, Cell]], base: str | None, fine_tune: str | None, merged: str
) -> Iterator[str]:
    claims = []
    if fine_tune is not None and "target" in means:
        claims.append(_against_fine_tune(means["target"][merged].to_fine_tune))
    if base is not None and fine_tune is not None and "general" in means:
        general = means["general"]
        claims.append(_forgetting(general[fine_tune].to_base, general[merged].to_base))
    if claims:
        yield f"The merged model {', and '.join(claims)}."


def _side_sentence(side: Side, cell: Cell, fine_tune: str | None) -> str:
    parts = [f"{side.capitalize()} retrieval: nDCG@10 {cell.ndcg_at_10:.1f}"]
    if cell.to_base is not None:
        parts.append(f"{_signed(cell.to_base)} to the base")
    if fine_tune is not None and cell.to_fine_tune is not None:
        parts.append(f"{_signed(cell.to_fine_tune)} to the fine-tune")
    return ", ".join(parts) + "."


def _gain_sentence(retention: Retention | None) -> Iterator[str]:
    if retention is not None and retention.gain_kept is not None:
        kept = retention.gain_kept
        share = f"{kept.value:.0f}".replace("-", "\N{MINUS SIGN}")
        yield f"Of the fine-tune's gain on the target the merged model has {share} %{_range(kept)}."


def _range(measured: Measured) -> str:
    if measured.low is None or measured.high is None:
        return ", a share of a gain that is not certain itself"
    return f" ({measured.low:.0f} to {measured.high:.0f})".replace("-", "\N{MINUS SIGN}")


def _flips_sentence(flips: Flips) -> str:
    lost = " and ".join(
        f"{count.negative:,} of {count.queries:,} {side} queries ({count.negative_rate:.1f} %)"
        for side, count in flips.sides.items()
    )
    won = " and ".join(f"{count.positive:,} {side}" for side, count in flips.sides.items())
    return (
        f"The base answers {lost} that the merged model does not (nDCG@10 below {ANSWERED:.0f}); "
        f"the other way round it is {won} ones."
    )


def _against_fine_tune(difference: Difference | None) -> str:
    if difference is None:
        return "is the fine-tune itself"
    if not difference.is_real:
        return "cannot be told from the fine-tune on the target by these queries"
    if difference.points > 0:
        return "beats the fine-tune on its own ground"
    return f"does not beat the fine-tune on the target, where it is {-difference.points:.1f} points short"


def _forgetting(fine_tune: Difference | None, merged: Difference | None) -> str:
    lost = -fine_tune.points if fine_tune else 0.0
    regained = (merged.points if merged else 0.0) + lost
    if lost < SMALLEST_GAIN:
        return "in general there was nothing to win back, the fine-tune having forgotten nothing"
    if regained <= 0:
        return f"wins back nothing of the {lost:.1f} general points that the fine-tune lost"
    if regained >= lost:
        return f"wins back all of the {lost:.1f} general points that the fine-tune lost"
    return f"wins back {100 * regained / lost:.0f} % of the {lost:.1f} general points that the fine-tune lost"


def _signed(difference: Difference) -> str:
    mark = "" if difference.is_real else ", not certain"
    return (
        f"{_points(difference.points, '+')} ({_points(difference.low)} to {_points(difference.high)}{mark})"
    )


def _points(value: float, sign: str = "-") -> str:
    rounded = round(value, 1) + 0.0  # never minus zero
    return f"{rounded:{sign}.1f}".replace("-", "\N{MINUS SIGN}")
