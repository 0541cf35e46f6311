"""What choosing weights has found, in words: the same in the terminal, on the page and in the card."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from embedmerge.evaluation.significance import Difference
from embedmerge.report import wording
from embedmerge.weighting.selection import Estimate

if TYPE_CHECKING:
    from embedmerge.report.document import Report, WeightingRecord
    from embedmerge.weighting.selection import Candidate, Selection

APPROXIMATE = "≈"
CHOSEN = "chosen"
UNBROKEN = "\N{NO-BREAK SPACE}"
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
        kind: `base`, `fine-tune`, `uniform`, `cocktail`, `placebo`, `merged` for the choice, nothing for any
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


def general_header(selection: Selection) -> str:
    """What the general side is reported in, on two lines."""
    return "divergence\nfrom base, nats" if is_divergence(selection) else f"general\n{MEASURES['ndcg_at_10']}"


def is_divergence(selection: Selection) -> bool:
    """Whether the general side is a divergence from the base, of which less is better."""
    return selection.general_measure == "preservation"


def nats(value: float) -> str:
    """Return a divergence with three decimals.

    >>> nats(0.0256), nats(-0.0)
    ('0.026', '0.000')
    """
    return wording.weight(value)


def anchored(report: Report) -> str:
    """What took the base's place while weights were chosen, in words; nothing where nothing did."""
    if report.anchor is None:
        return ""
    anchor = report.anchor
    experts = wording.counted(len(report.sources) - 1, "expert")
    how = f"{anchor.method} ({wording.settings(anchor.parameters)})"
    return (
        f"All {experts} were merged first, by {how}. Weights were chosen against that, the {anchor.name}: it "
        "is the base where weights and the way to them are told. Models are compared with the base itself."
    )


def in_brief(selection: Selection) -> str:
    """By what the weights were chosen, in one sentence."""
    wanted = f"{'lowest' if selection.objective == 'loss' else 'best'} {MEASURES[selection.objective]}"
    examples = wording.counted(selection.examples, "example")
    guarded = wording.counted(selection.guarded, "text" if is_divergence(selection) else "query")
    return (
        f"Strategy {selection.strategy} took the {wanted} on {examples} of the target domain among mixtures "
        f"above a floor: {selection.floor}, by {selection.guard} ({guarded})."
    )


def checked(selection: Selection) -> str:
    """On what the candidates were scored."""
    if selection.checked == "split":
        return (
            "Half of the examples and of the guard chose the weights; the other half scored the candidates."
        )
    return (
        "With so few examples all of them chose the weights; what is shown as chosen is cross-validated, "
        "each part being scored with weights that the others chose."
    )


def scored(selection: Selection) -> str:
    """The choice beside what it has to beat, in numbers."""
    shown = [row for row in rows(selection) if row.kind in ("merged", *wording.CONTROLS)]
    parts = [
        f"{row.name} {row.target} ({_to_base(row.target_to_base)}) and {_general(selection, row)}"
        for row in shown[::-1]
    ]
    return f"Target {target_measure(selection)} and general side: {'; '.join(parts)}."


def as_good(selection: Selection) -> str:
    """The weights that are as good as the chosen ones."""
    ranges = ", ".join(
        f"{wording.one_line(name)} {reach(bounds)}" for name, bounds in selection.as_good.items()
    )
    return f"As far as these examples can tell, weights in these ranges may be as good: {ranges}."


def _to_base(difference: Difference | None) -> str:
    if difference is None:
        return "the base"
    return f"{wording.difference(difference)} to the base, {wording.interval(difference)}"


def _general(selection: Selection, row: Row) -> str:
    if is_divergence(selection):
        return f"a divergence of {row.general} nats"
    return f"{row.general} ({_to_base(row.general_to_base)})"


def confirmed(selection: Selection) -> str:
    """What really merging and encoding the choice has shown."""
    found = selection.confirmation
    target = _off(found.target, selection.objective != "loss")
    general = _off(found.general, not is_divergence(selection))
    both = f"{target} on the target and {general} on the general side" if target != general else target
    rounds = "" if found.rounds == 1 else f" in {found.rounds} rounds, the approximation mended in between"
    return (
        f"Really merged and encoded{rounds}, the choice is {both}; its embeddings are "
        f"{_distance(found.distance)} off (mean cosine distance). In all "
        f"{wording.counted(found.encodes, 'model')} encoded the texts."
    )


def _off(expected_minus_true: float, in_points: bool) -> str:
    """How much better or worse than expected, all measures being negated where less is better."""
    size = f"{abs(expected_minus_true):.2f} points" if in_points else f"{abs(expected_minus_true):.4f} nats"
    if not float(size.split()[0]):
        return "as expected"
    return f"{size} {'worse' if expected_minus_true > 0 else 'better'} than expected"


def _distance(distance: float) -> str:
    return f"{distance:.4f}" if distance >= 5e-5 else "less than 0.0001"


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
    pairs = zip(selection.candidates, kinds(selection, fine_tune), strict=True)
    return [_row(selection, candidate, kind) for candidate, kind in pairs]


def kinds(selection: Selection, fine_tune: str | None = None) -> list[str]:
    """What each candidate is drawn and named as; the sources stand first, whatever they are called."""
    _, *experts = selection.as_good
    others = [candidate.name for candidate in selection.candidates[1 + len(experts) :]]
    return [
        "base",
        *("fine-tune" if name == fine_tune else "" for name in experts),
        *("merged" if name == CHOSEN else name for name in others),
    ]


def _row(selection: Selection, candidate: Candidate, kind: str) -> Row:
    mark = "" if candidate.exact else APPROXIMATE
    target, general = candidate.target, _shown_general(selection, candidate.general)
    show = nats if is_divergence(selection) else wording.points
    paired = None if is_divergence(selection) else _as_difference(candidate.general_to_base)
    return Row(
        name=candidate.name,
        kind=kind,
        weights=_weights(candidate, kind),
        target=mark + wording.points(target.value),
        target_interval=f"{wording.points(target.low)} to {wording.points(target.high)}",
        target_to_base=_as_difference(candidate.target_to_base),
        general=mark + show(general.value),
        general_interval=f"{show(general.low)} to {show(general.high)}",
        general_to_base=paired,
    )


def _shown_general(selection: Selection, estimate: Estimate) -> Estimate:
    """The general side as shown: a divergence with its sign turned round."""
    if not is_divergence(selection):
        return estimate
    return Estimate(-estimate.value, -estimate.high, -estimate.low)


def _as_difference(estimate: Estimate | None) -> Difference | None:
    return None if estimate is None else Difference(estimate.value, estimate.low, estimate.high)


def _weights(candidate: Candidate, kind: str) -> str:
    if candidate.weights is None:
        return "a random step from the base"
    if kind in ("base", "fine-tune", ""):
        return "alone"
    if kind == "uniform":
        return f"1/{len(candidate.weights)} each"
    return in_words(candidate.weights)


def in_words(weights: dict[str, float]) -> str:
    """Weights by source, without those that are zero; no line ends between a name and its weight.

    >>> in_words({"base": 0.52, "torch": 0.48, "scipy": 0.0}).replace(UNBROKEN, " ")
    'base 0.520, torch 0.480'
    """
    return ", ".join(
        f"{wording.one_line(name)}{UNBROKEN}{wording.weight(value)}"
        for name, value in weights.items()
        if value
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
    base, chosen = selection.candidates[0], selection.candidates[-1]
    if "floor" not in guard or chosen.general_to_base is None:
        return None
    error = (chosen.general_to_base.high - chosen.general_to_base.low) / (2 * 1.96)
    return base.general.value - float(guard["floor"]) * error


def saw_test_data(record: WeightingRecord) -> bool:
    """Whether the user let the weights be chosen on what may be a test split."""
    return bool(record.parameters.get("i_know_this_is_test_data"))
