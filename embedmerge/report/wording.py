"""Numbers and names in words: the same in the terminal, on the page and in the card."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Literal

from embedmerge.evaluation.scores import SIDES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from embedmerge.evaluation.compare import Cell, Comparison
    from embedmerge.evaluation.scores import Side
    from embedmerge.evaluation.significance import Difference

Reference = Literal["base", "fine-tune"]
Tone = Literal["gain", "loss", "even"]

MARK = "*"
DAGGER = "†"
NOTHING = "—"
LEGEND = f"{MARK} real: the 95 % interval over queries leaves out zero. All scores in points."
HOLM = f"{DAGGER} p < 0.05 in a paired randomisation test, after Holm's correction over the tasks."
# What a choice of weights has to beat.
CONTROLS = {
    "uniform": "the plain average of all sources",
    "cocktail": "LM-Cocktail's rule on the same examples",
    "placebo": "the base moved as far in a random direction",
}

_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]+")


def one_line(text: str) -> str:
    """Return `text` without line breaks, terminal escapes and direction overrides."""
    return _UNPRINTABLE.sub(" ", text).strip()


def points(value: float) -> str:
    """Return a score with one decimal.

    >>> points(71.26), points(-0.01)
    ('71.3', '0.0')
    """
    return f"{round(value, 1) + 0.0:.1f}".replace("-", "−")


def signed(value: float) -> str:
    """Return a difference with one decimal and its sign, none where it rounds to zero.

    >>> signed(1.25), signed(-0.3), signed(-0.04)
    ('+1.2', '−0.3', '0.0')
    """
    rounded = round(value, 1) + 0.0
    return f"{rounded:+.1f}".replace("-", "−") if rounded else "0.0"


def difference(value: Difference | None) -> str:
    """Return a difference, marked where it is real; a dash where there is none."""
    if value is None:
        return NOTHING
    return signed(value.points) + marks(value)


def marks(value: Difference) -> str:
    """Return what stands behind a difference: its interval leaves out zero; it holds over all tasks.

    >>> from embedmerge.evaluation.significance import Difference
    >>> marks(Difference(1.2, 0.1, 2.3, p=0.003, p_holm=0.02)), marks(Difference(1.2, 0.1, 2.3, p=0.003))
    ('*†', '*')
    """
    return (MARK if value.is_real else "") + (DAGGER if is_corrected(value) and value.is_significant else "")


def is_corrected(value: Difference | None) -> bool:
    """Return whether a difference was tested as one of several."""
    return value is not None and value.p_holm is not None


def p_value(value: float) -> str:
    """Return a p value, no smaller than three decimals show.

    >>> p_value(0.0421), p_value(0.0001)
    ('0.042', '< 0.001')
    """
    return f"{value:.3f}" if value >= 0.001 else "< 0.001"


def evidence(value: Difference) -> str:
    """Return what a difference rests on: interval, test, and queries won and lost.

    >>> from embedmerge.evaluation.significance import Difference
    >>> evidence(Difference(1.2, 0.1, 2.3, p=0.003, p_holm=0.02, wins=30, ties=60, losses=10))
    '95 % interval +0.1 to +2.3; p 0.003, after Holm 0.020; better on 30 queries, worse on 10, the same on 60'
    """
    parts = [f"95 % interval {interval(value)}"]
    if value.p is not None:
        holm = "" if value.p_holm is None else f", after Holm {p_value(value.p_holm)}"
        parts.append(f"p {p_value(value.p)}{holm}")
    if value.wins + value.ties + value.losses:
        better = f"better on {counted(value.wins, 'query')}"
        parts.append(f"{better}, worse on {value.losses:,}, the same on {value.ties:,}")
    return "; ".join(parts)


def are_corrected(comparison: Comparison) -> bool:
    """Return whether any task's differences were tested."""
    cells = [cell for task in comparison.tasks for cell in task.cells.values()]
    return any(is_corrected(value) for cell in cells for value in (cell.to_base, cell.to_fine_tune))


def interval(value: Difference) -> str:
    """Return the 95 % interval of a difference."""
    return f"{signed(value.low)} to {signed(value.high)}"


def tone(value: Difference | None) -> Tone:
    """Return whether a difference is a real gain, a real loss, or neither."""
    if value is None or not value.is_real:
        return "even"
    return "gain" if value.points > 0 else "loss"


def weight(value: float) -> str:
    """Return a weight with three decimals.

    >>> weight(0.5), weight(-0.25)
    ('0.500', '−0.250')
    """
    return f"{round(value, 3) + 0.0:.3f}".replace("-", "−")


def settings(values: Mapping[str, Any]) -> str:
    """Return settings as `name value` pairs in one line.

    >>> settings({"temperature": 0.02, "seed": 7, "guard": {"most": 512}})
    'temperature 0.02, seed 7, guard.most 512'
    """
    pairs = (
        (name, value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False))
        for name, value in _flat(values)
    )
    return one_line(", ".join(f"{name} {value}" for name, value in pairs))


def _flat(values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict) and value:
            yield from ((f"{name}.{inner}", item) for inner, item in _flat(value))
        else:
            yield name, value


def counted(number: int, noun: str) -> str:
    """Return `number` with its noun.

    >>> counted(1, "task"), counted(3, "task"), counted(1406, "query")
    ('1 task', '3 tasks', '1,406 queries')
    """
    plural = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{number:,} {noun if number == 1 else plural}"


def sides(comparison: Comparison) -> tuple[Side, ...]:
    """Return the sides that have tasks, the target first."""
    return tuple(side for side in SIDES if comparison.means.get(side))


def role(comparison: Comparison, model: str) -> str:
    """Return `base`, `fine-tune`, `merged`, or nothing for any other model."""
    roles = {comparison.base: "base", comparison.fine_tune: "fine-tune", comparison.merged: "merged"}
    return roles.get(model, "")


def named(comparison: Comparison, model: str) -> str:
    """Return the model's name, with its role where the name does not say it."""
    name, model_role = one_line(model), role(comparison, model)
    return name if model_role in ("", name) else f"{name} ({model_role})"


def kind(comparison: Comparison, model: str) -> str:
    """Return what a model is: its role, or `uniform`, `cocktail`, `placebo` beside a merged model."""
    known = role(comparison, model)
    return model if not known and model in controls(comparison) else known


def controls(comparison: Comparison) -> dict[str, str]:
    """Return what each control beside a merged model is, by its name."""
    others = {comparison.base, comparison.fine_tune, comparison.merged}
    return {
        name: what
        for name, what in CONTROLS.items()
        if comparison.merged is not None and name in comparison.models and name not in others
    }


def explained(controls: Mapping[str, str]) -> str:
    """Return what each control is, in one sentence; nothing where there are none.

    >>> explained({"uniform": "the plain average of all sources"})
    'Controls: uniform, the plain average of all sources.'
    """
    sentence = "; ".join(f"{name}, {what}" for name, what in controls.items())
    return f"Controls: {sentence}." if sentence else ""


def focus(comparison: Comparison) -> str | None:
    """Return the model that is shown task by task: the merged one, else the fine-tune, else the last."""
    last = comparison.models[-1] if comparison.base and len(comparison.models) > 1 else None
    return comparison.merged or comparison.fine_tune or last


def to_reference(cell: Cell | None, reference: Reference) -> Difference | None:
    """Return the cell's difference to a reference."""
    if cell is None:
        return None
    return cell.to_base if reference == "base" else cell.to_fine_tune


def references(comparison: Comparison, model: str | None = None) -> tuple[Reference, ...]:
    """Return the references that something is compared with.

    Args:
        comparison: The comparison.
        model: Look at this model's cells only; at all of them where it is None.
    """
    cells = [
        cell
        for row in (*comparison.means.values(), *(task.cells for task in comparison.tasks))
        for name, cell in row.items()
        if model is None or name == model
    ]
    both: tuple[Reference, ...] = ("base", "fine-tune")
    return tuple(ref for ref in both if any(to_reference(cell, ref) for cell in cells))
