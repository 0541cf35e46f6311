"""What the page's sliders need: one for each source, and predictions for wherever they stand."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

from embedmerge.report import choosing, wording

if TYPE_CHECKING:
    from embedmerge.report.document import Report
    from embedmerge.weighting.selection import Selection
    from embedmerge.weighting.surface import Surface

BY_BLOCK = (
    "The merged model has weights that differ from block to block, which sliders cannot show: they give one "
    "weight for all blocks, and as chosen they show the one that blocks were compared with."
)
_PLAIN = re.compile(r"[A-Za-z][\w.-]*", re.ASCII)


@dataclass(frozen=True)
class Slider:
    """A source's slider.

    Attributes:
        name: The source's.
        weight: The chosen one.
        as_good: Lowest and highest weight that is as good, from 0 to 1.
        fixed: Why it cannot be moved; None where it can.
    """

    name: str
    weight: float
    as_good: tuple[float, float]
    fixed: str | None


def sliders(selection: Selection, surface: Surface) -> list[Slider]:
    """One for each source, base first.

    Args:
        selection: What was found.
        surface: Its predictions.
    """
    chosen = selection.candidates[-1].weights or {}
    return [
        Slider(name, chosen.get(name, 0.0), (max(low, 0.0), min(high, 1.0)), surface.left_out.get(name))
        for name, (low, high) in selection.as_good.items()
    ]


def off_the_lattice(selection: Selection, surface: Surface) -> str:
    """What the chosen weights give to sources whose sliders are fixed; nothing where they give nothing."""
    lost = sum(each.weight for each in sliders(selection, surface) if each.fixed is not None)
    return wording.weight(lost) if lost else ""


def script_data(report: Report, selection: Selection, surface: Surface) -> dict[str, Any]:
    """What the script computes from, in plain types.

    Args:
        report: Whose page it is.
        selection: What was found.
        surface: Its predictions.
    """
    shown = sliders(selection, surface)
    divergence = choosing.is_divergence(selection)
    return {
        "spanned": [place for place, each in enumerate(shown) if each.fixed is None],
        "keys": [yaml_key(each.name) for each in shown],
        "chosen": _reachable([each.weight for each in shown], [each.fixed is None for each in shown]),
        "fineTune": next((place for place, each in enumerate(shown) if each.name == report.fine_tune), None),
        "steps": surface.steps,
        "target": [round(value, 2) for value in surface.target],
        "general": [round(abs(value) if divergence else value, 4) for value in surface.general],
        "margins": [round(value, 4) for value in surface.margins],
        "atChosen": [
            surface.chosen.target,
            abs(surface.chosen.general) if divergence else surface.chosen.general,
        ],
        "divergence": divergence,
    }


def yaml_key(name: str) -> str:
    r"""A source's name as a key in YAML, on one line.

    >>> print(yaml_key("docs-tuned"), yaml_key("yes"), yaml_key('a: "b"'))
    docs-tuned "yes" "a: \"b\""
    """
    if _PLAIN.fullmatch(name) and yaml.safe_load(name) == name:
        return name
    return yaml.safe_dump(name, default_style='"', allow_unicode=True, width=sys.maxsize).strip()


def _reachable(weights: list[float], movable: list[bool]) -> list[float]:
    """The weights without those that are fixed at 0, the others in proportion."""
    kept = [weight if free else 0.0 for weight, free in zip(weights, movable, strict=True)]
    total = sum(kept)
    return [round(weight / total, 6) for weight in kept] if total else [1.0, *[0.0] * (len(kept) - 1)]
