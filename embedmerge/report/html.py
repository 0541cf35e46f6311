"""A finished run as one page that needs nothing else: no network, no library, no second file."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from embedmerge.report import choosing, plot, queries, sliders, trade_off, wording
from embedmerge.report.blocks import block_weights
from embedmerge.report.templating import environment

if TYPE_CHECKING:
    from jinja2 import Environment

    from embedmerge.evaluation.flips import Flips
    from embedmerge.report.document import Report
    from embedmerge.weighting.selection import Selection

COLOURS = 8
SHAPES = {"uniform": "diamond", "cocktail": "plus", "placebo": "cross"}
SCRIPTS = ("numbers.js", "surface.js", "sliders.js", "sorting.js", "queries.js")
_PIECES = re.compile(r"[^-_/]*[-_/]+|[^-_/]+")


def _breakable(name: str) -> Markup:
    """Return a name escaped, that a narrow column may break after a separator and nowhere else."""
    return Markup("<wbr>").join(_PIECES.findall(wording.one_line(name)))


def _environment() -> Environment:
    made = environment(autoescape=True)
    made.filters["breakable"] = _breakable
    return made


def _script(environment: Environment) -> str:
    """Return the page's script; each file is a part of one scope."""
    assert environment.loader is not None
    parts = [environment.loader.get_source(environment, name)[0] for name in SCRIPTS]
    return '(() => {\n"use strict";\n' + "\n".join(parts) + "})();\n"


def _policy(script: str) -> str:
    """Return what a browser may load and run: this script, and nothing from anywhere."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; base-uri 'none'"


def _shares(weights: dict[str, float]) -> dict[str, float]:
    """Return each weight's percent of the bar; empty where a negative weight makes a bar senseless."""
    total = sum(weights.values())
    if total <= 0 or min(weights.values()) < 0:
        return {}
    return {name: round(100 * value / total, 3) for name, value in weights.items()}


@dataclass(frozen=True)
class _Track:
    """A source's weights as good as the chosen one, on a track that all sources share; in percent of it."""

    words: str
    start: float
    length: float
    chosen: float


def _tracks(selection: Selection, weights: dict[str, float]) -> dict[str, _Track]:
    """Return a track for each source that has a range."""
    ends = [end for bounds in selection.as_good.values() for end in bounds]
    low, high = min(0.0, *ends, *weights.values()), max(1.0, *ends, *weights.values())

    def place(weight: float) -> float:
        return round(100 * (weight - low) / (high - low), 2)

    return {
        name: _Track(
            choosing.reach((least, most)),
            place(least),
            round(place(most) - place(least), 2),
            place(weights[name]),
        )
        for name, (least, most) in selection.as_good.items()
        if name in weights
    }


def _choice(report: Report) -> dict[str, Any]:
    """Return what the page shows of a selection."""
    selection, fine_tune = report.weighting.selection, report.fine_tune
    if selection is None:
        return {"selection": None}
    floor = choosing.floor_of(report.weighting)
    return {
        "selection": selection,
        "rows": choosing.rows(selection, fine_tune),
        "tracks": _tracks(selection, report.weights),
        "front_svg": Markup(trade_off.front_svg(selection, floor, fine_tune)),
        "has_floor": floor is not None,
        **_exploring(report, selection),
    }


def _exploring(report: Report, selection: Selection) -> dict[str, Any]:
    """Return what the page's sliders are made from; nothing where there is no surface to move over."""
    if selection.surface is None:
        return {"sliders": (), "surface": None}
    return {
        "sliders": sliders.sliders(selection, selection.surface),
        "surface": sliders.script_data(report, selection, selection.surface),
        "by_block": sliders.BY_BLOCK if report.weighting.parameters.get("by_tensor") else "",
        "off_the_lattice": sliders.off_the_lattice(selection, selection.surface),
    }


def _flips(report: Report) -> Flips | None:
    """Return the flips that are shown one by one: the merged model's against the base."""
    comparison = report.comparison
    if comparison is None:
        return None
    pair = wording.focus(comparison), comparison.base
    return next((each for each in comparison.flips if (each.model, each.reference) == pair), None)


def render_html(report: Report) -> str:
    """Return the report as a self-contained HTML page: same report, same bytes.

    Args:
        report: The report.

    Returns:
        The page.
    """
    comparison = report.comparison
    svg = plot.tradeoff_svg(comparison) if comparison and plot.has_tradeoff(comparison) else ""
    made = _environment()
    script = _script(made)
    return made.get_template("report.html.j2").render(
        report=report,
        comparison=comparison,
        svg=Markup(svg),
        choosing=choosing,
        shapes=SHAPES,
        **_choice(report),
        shares=_shares(report.weights),
        roles=report.roles,
        colours={name: place % COLOURS for place, name in enumerate(report.weights)},
        queries=queries.script_data(report.queries) if report.queries else None,
        flips=_flips(report),
        by_block_weights=block_weights(report),
        script=Markup(script),
        policy=Markup(_policy(script)),
    )
