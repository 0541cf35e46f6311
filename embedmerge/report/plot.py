"""Target against general: every model a labelled point, as SVG for the page or PNG for the README."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from embedmerge import atomic
from embedmerge.report import figure, wording
from embedmerge.report.marks import Mark, draw_marks

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.figure import Figure

    from embedmerge.evaluation.compare import Comparison

LEAST_SPAN = 2.0  # points
TITLE = "Target against general retrieval"


def has_tradeoff(comparison: Comparison | None) -> bool:
    """Return whether there is something to draw: two models or more with a mean on both sides.

    Args:
        comparison: The comparison, None where the recipe names no task.

    >>> has_tradeoff(None)
    False
    """
    return comparison is not None and len(_marks(comparison)) > 1


def _marks(comparison: Comparison) -> list[Mark]:
    target, general = comparison.means.get("target", {}), comparison.means.get("general", {})
    return [
        Mark(
            model,
            wording.kind(comparison, model),
            general[model].ndcg_at_10,
            target[model].ndcg_at_10,
            wording.role(comparison, model),
        )
        for model in comparison.models
        if model in target and model in general
    ]


def _words(mark: Mark) -> str:
    scores = f"target {wording.points(mark.y)}, general {wording.points(mark.x)}"
    return f"{wording.one_line(mark.name)}: {scores}"


def _front(marks: Sequence[Mark]) -> list[Mark]:
    """Return the marks that no other beats on both sides, from left to right."""
    front: list[Mark] = []
    for mark in sorted(marks, key=lambda mark: (-mark.x, -mark.y)):
        if not front or mark.y > front[-1].y:
            front.append(mark)
    return front[::-1]


def _steps(axes: Any, marks: Sequence[Mark]) -> list[tuple[float, float]]:
    """Return the corners of the staircase over the front, from the left edge to the lower one."""
    front = _front(marks)
    corners = [(axes.get_xlim()[0], front[0].y)]
    for mark, following in zip(front, [*front[1:], None], strict=True):
        corners.append((mark.x, mark.y))
        corners.append((mark.x, following.y if following else axes.get_ylim()[0]))
    return corners


def _draw(comparison: Comparison) -> Figure:
    marks = _marks(comparison)
    drawn, axes = figure.ground(
        figure.limits([mark.x for mark in marks], LEAST_SPAN),
        figure.limits([mark.y for mark in marks], LEAST_SPAN),
        "general, mean nDCG@10 →",
        "target, mean nDCG@10 →",
    )
    steps = _steps(axes, marks)
    x, y = zip(*steps, strict=True)
    axes.plot(x, y, color=figure.INK, alpha=0.4, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    draw_marks(drawn, axes, marks, [steps])
    return drawn


def _require_tradeoff(comparison: Comparison) -> None:
    if not has_tradeoff(comparison):
        msg = "no trade-off to draw: two models with scores on both sides are needed"
        raise ValueError(msg)


def tradeoff_svg(comparison: Comparison) -> str:
    """Return the trade-off as an SVG element: same comparison, same bytes.

    Text and axes are drawn in `currentColor` on a transparent ground, so it suits a light and a dark page.

    Args:
        comparison: The comparison.

    Returns:
        The element, without an XML declaration.

    Raises:
        ValueError: There is nothing to draw; ask `has_tradeoff` first.
    """
    _require_tradeoff(comparison)
    words = {f"model-{place}": _words(mark) for place, mark in enumerate(_marks(comparison))}
    return figure.inline_svg(lambda: _draw(comparison), TITLE, words)


def tradeoff_png(comparison: Comparison, path: Path) -> None:
    """Write the trade-off as PNG on white.

    Args:
        comparison: The comparison.
        path: File to write.

    Raises:
        ValueError: There is nothing to draw; ask `has_tradeoff` first.
    """
    _require_tradeoff(comparison)
    options: dict[str, Any] = {"format": "png", "dpi": 200, "facecolor": "white"}
    data = figure.saved(lambda: _draw(comparison), **options, metadata={"Software": None})
    atomic.write_bytes(path, data)
