"""A finished run as one page that needs nothing else: no network, no script, no second file."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from markupsafe import Markup

from embedmerge.report import plot, wording
from embedmerge.report.templating import environment

if TYPE_CHECKING:
    from jinja2 import Environment

    from embedmerge.report.document import Report

COLOURS = 8
_PIECES = re.compile(r"[^-_/]*[-_/]+|[^-_/]+")


def _breakable(name: str) -> Markup:
    """Return a name escaped, that a narrow column may break after a separator and nowhere else."""
    return Markup("<wbr>").join(_PIECES.findall(wording.one_line(name)))


def _environment() -> Environment:
    made = environment(autoescape=True)
    made.filters["breakable"] = _breakable
    return made


def _shares(weights: dict[str, float]) -> dict[str, float]:
    """Return each weight's percent of the bar; empty where a negative weight makes a bar senseless."""
    total = sum(weights.values())
    if total <= 0 or min(weights.values()) < 0:
        return {}
    return {name: round(100 * value / total, 3) for name, value in weights.items()}


def render_html(report: Report) -> str:
    """Return the report as a self-contained HTML page: same report, same bytes.

    Args:
        report: The report.

    Returns:
        The page.
    """
    comparison = report.comparison
    svg = plot.tradeoff_svg(comparison) if comparison and plot.has_tradeoff(comparison) else ""
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            report=report,
            comparison=comparison,
            svg=Markup(svg),
            shares=_shares(report.weights),
            roles={source.name: source.role for source in report.sources},
            colours={name: place % COLOURS for place, name in enumerate(report.weights)},
        )
    )
