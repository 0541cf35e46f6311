"""What choosing weights has found, in words: the same in the terminal, on the page and in the card."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from embedmerge.evaluation.compare import Difference
from embedmerge.report import wording

if TYPE_CHECKING:
    from embedmerge.report.document import WeightingRecord
    from embedmerge.weighting.selection import Candidate, Estimate, Selection

APPROXIMATE = "≈"
CHOSEN = "chosen"
LEGEND = (
    f"{wording.MARK} real: the 95 % interval over queries leaves out zero. "
    f"{APPROXIMATE} from the sources' embeddings, not encoded."
)
MEASURES = {"ndcg_at_10": "nDCG@10", "recall_at_100": "recall@100", "loss": "InfoNCE loss"}


@dataclass(frozen=True)
class Row:
    """A candidate as tables show it.

    Attributes:
        name: Its name.
        kind: `base`, `fine-tune`, `uniform`, `cocktail`, `placebo`, `merged` for the choice, or nothing for any
            other expert.
        weights: In words.
        target: Score in points, marked where it is approximate.
        target_interval: Its 95 % interval.
        target_to_base: Paired difference to the base; None for the base.
        general: Score in points, or divergence in nats, marked likewise.
        general_interval: Its 95 % interval.
        general_to_base: Paired difference; None for the base, and where a divergence is one already.
    """

    name: str
    kind: str
    weights: str
    target: str
    target_interval: str
    target_to_base: Difference | None
    general: str
    general_interval: str
    general_to_base: Difference | None


def target_measure(selection: Selection) -> str:
    """What the target is reported in."""
    return MEASURES[selection.measure]


def general_measure(selection: Selection) -> str:
    """What the general side is reported in."""
    return "divergence, nats" if is_divergence(selection) else MEASURES["ndcg_at_10"]


def is_divergence(selection: Selection) -> bool:
    """Whether the general side is a divergence from the base, of which less is better."""
    return selection.general_measure == "preservation"


def nats(value: float) -> str:
    """Return a divergence with three decimals.

    >>> nats(0.0256), nats(-0.0)
    ('0.026', '0.000')
    """
    return wording.weight(value)


def in_brief(selection: Selection) -> str:
    """By what the weights were chosen, in one sentence."""
    wanted = "lowest" if selection.objective == "loss" else "best"
    examples = wording.counted(selection.examples, "example")
    guarded = wording.counted(selection.guarded, "text" if is_divergence(selection) else "query")
    return (
        f"Strategy {selection.strategy} took the {wanted} {MEASURES[selection.objective]} on {examples} of the target "
        f"domain among mixtures above a floor: {selection.floor}, by {selection.guard} ({guarded})."
    )


def checked(selection: Selection) -> str:
    """On what the candidates were scored."""
    if selection.checked == "split":
        return "Half of the examples and of the guard chose the weights; the candidates are scored on the other half."
    return (
        "With so few examples all of them chose the weights; what is shown as chosen is cross-validated, each part of "
        "the examples being scored with weights that the other parts chose."
    )


def confirmed(selection: Selection) -> str:
    """What really merging and encoding the choice has shown."""
    found = selection.confirmation
    rounds = wording.counted(found.rounds, "round")
    return (
        f"The chosen mixture was really merged and encoded ({rounds}, {wording.counted(found.encodes, 'model')} encoded "
        f"in all): on the target {_off(found.target, selection.objective != 'loss')}, on the general side "
        f"{_off(found.general, not is_divergence(selection))}. Its embeddings are {found.distance:.1g} off the "
        "approximation (mean cosine distance)."
    )


def _off(expected_minus_true: float, in_points: bool) -> str:
    """How much better or worse than expected, all measures being negated where less is better."""
    size = f"{abs(expected_minus_true):.2f} points" if in_points else f"{abs(expected_minus_true):.4f} nats"
    if not float(size.split()[0]):
        return "it is as expected"
    return f"it is {size} {'worse' if expected_minus_true > 0 else 'better'} than expected"


def reach(bounds: tuple[float, float]) -> str:
    """Return a range of weights.

    >>> reach((0.781, 1.0)), reach((0.5, 0.5))
    ('0.78 to 1.00', '0.50')
    """
    low, high = (f"{round(end, 2) + 0.0:.2f}".replace("-", "−") for end in bounds)
    return low if low == high else f"{low} to {high}"


def rows(selection: Selection, fine_tune: str | None = None) -> list[Row]:
    """The candidates, in their order.

    Args:
        selection: What was found.
        fine_tune: Name of the target expert.
    """
    return [_row(selection, candidate, fine_tune) for candidate in selection.candidates]


def kind_of(selection: Selection, candidate: Candidate, fine_tune: str | None) -> str:
    """What a candidate is drawn and named as."""
    if candidate.target_to_base is None:
        return "base"
    if candidate.name in selection.as_good:
        return "fine-tune" if candidate.name == fine_tune else ""
    return "merged" if candidate.name == CHOSEN else candidate.name


def _row(selection: Selection, candidate: Candidate, fine_tune: str | None) -> Row:
    mark = "" if candidate.exact else APPROXIMATE
    target, general = candidate.target, _shown_general(selection, candidate.general)
    show = nats if is_divergence(selection) else wording.points
    paired = None if is_divergence(selection) else _as_difference(candidate.general_to_base)
    return Row(
        name=candidate.name,
        kind=kind_of(selection, candidate, fine_tune),
        weights=_weights(selection, candidate),
        target=mark + wording.points(target.value),
        target_interval=f"{wording.points(target.low)} to {wording.points(target.high)}",
        target_to_base=_as_difference(candidate.target_to_base),
        general=mark + show(general.value),
        general_interval=f"{show(general.low)} to {show(general.high)}",
        general_to_base=paired,
    )


def _shown_general(selection: Selection, estimate: Estimate) -> Difference:
    """The general side as shown: a divergence with its sign turned round."""
    if is_divergence(selection):
        return Difference(-estimate.value, -estimate.high, -estimate.low)
    return Difference(estimate.value, estimate.low, estimate.high)


def _as_difference(estimate: Estimate | None) -> Difference | None:
    return None if estimate is None else Difference(estimate.value, estimate.low, estimate.high)


def _weights(selection: Selection, candidate: Candidate) -> str:
    if candidate.weights is None:
        return "a random step from the base"
    if candidate.name in selection.as_good:
        return "alone"
    if candidate.name == "uniform":
        return f"1/{len(candidate.weights)} each"
    return in_words(candidate.weights)


def in_words(weights: dict[str, float]) -> str:
    """Weights by source, without those that are zero.

    >>> in_words({"base": 0.52, "torch": 0.48, "scipy": 0.0})
    'base 0.520, torch 0.480'
    """
    return ", ".join(
        f"{wording.one_line(name)} {wording.weight(value)}" for name, value in weights.items() if value
    )


def floor_of(record: WeightingRecord) -> float | None:
    """Where the floor lies on the general side; None where the settings do not say.

    On labelled tasks it is so many standard errors of the chosen mixture's paired difference below the base.

    Args:
        record: A record with a selection.
    """
    guard, selection = record.parameters.get("guard"), record.selection
    if selection is None or not isinstance(guard, dict):
        return None
    if is_divergence(selection):
        return float(guard["budget"]) if "budget" in guard else None
    found = {candidate.name: candidate for candidate in selection.candidates}
    chosen, base = found.get(CHOSEN), selection.candidates[0]
    if "floor" not in guard or chosen is None or chosen.general_to_base is None:
        return None
    error = (chosen.general_to_base.high - chosen.general_to_base.low) / (2 * 1.96)
    return base.general.value - float(guard["floor"]) * error


def saw_test_data(record: WeightingRecord) -> bool:
    """Whether the user let the weights be chosen on what may be a test split."""
    return bool(record.parameters.get("i_know_this_is_test_data"))
