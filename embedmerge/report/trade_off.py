"""The trade-off that weights were chosen from: its front, and every candidate beside it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from embedmerge.report import choosing, figure, wording
from embedmerge.report.marks import LOOKS, Mark, draw_marks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matplotlib.figure import Figure

    from embedmerge.weighting.selection import Selection

    Line = list[tuple[float, float]]

TITLE = "The trade-off that the weights were chosen from"
PREFIX = "choice-"
LEAST_SPAN = 2.0  # points
LEAST_ROOT = 0.1  # square root of nats
TICKS = (0.0, 0.001, 0.003, 0.01, 0.03, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 20.0)
APART = 0.1  # of the axis, between two of these


def front_svg(selection: Selection, floor: float | None = None, fine_tune: str | None = None) -> str:
    """The trade-off as an SVG element: same selection, same bytes.

    A divergence grows with the square of a step away from the base, so its axis is drawn in square roots,
    and runs to the left: right is better, as with points.

    Args:
        selection: What was found.
        floor: Least general quality in points, or largest divergence in nats; None where it is not known.
        fine_tune: Name of the target expert.
    """
    general = "divergence from the base in nats" if choosing.is_divergence(selection) else "general"
    words = {
        f"model-{place}": f"{wording.one_line(row.name)}: target {row.target}, {general} {row.general}"
        for place, row in enumerate(choosing.rows(selection, fine_tune))
    }
    shape = {"class": "trade-off", "data-scale": "root" if choosing.is_divergence(selection) else "linear"}
    attributes = {**shape, **figure.frame(*_limits(selection, floor))}
    return figure.inline_svg(
        lambda: _draw(selection, floor, fine_tune), TITLE, words, PREFIX, attributes=attributes
    )


def _along(selection: Selection, general: float) -> float:
    """Place on the axis of a measure of which more is better."""
    return -math.sqrt(max(-general, 0.0)) if choosing.is_divergence(selection) else general


def _marks(selection: Selection, fine_tune: str | None) -> list[Mark]:
    pairs = zip(selection.candidates, choosing.kinds(selection, fine_tune), strict=True)
    return [
        Mark(candidate.name, kind, _along(selection, candidate.general.value), candidate.target.value)
        for candidate, kind in pairs
    ]


def _limits(selection: Selection, floor: float | None) -> tuple[tuple[float, float], tuple[float, float]]:
    """Limits along and up, so that everything is seen, wherever a mixture is moved to."""
    seen = [
        *_front(selection),
        *(corner for bar in _bars(selection) for corner in bar),
        *((_along(selection, each.general.value), each.target.value) for each in selection.candidates),
        *_everywhere(selection),
    ]
    least = LEAST_ROOT if choosing.is_divergence(selection) else LEAST_SPAN
    ends = [] if floor is None else [_end(selection, floor)]
    return (
        figure.limits([*(x for x, _ in seen), *ends], least),
        figure.limits([y for _, y in seen], LEAST_SPAN),
    )


def _front(selection: Selection) -> Line:
    return sorted((_along(selection, point.general), point.target) for point in selection.front)


def _everywhere(selection: Selection) -> Line:
    """The corners of the rectangle that all mixtures lie in."""
    surface = selection.surface
    if surface is None:
        return []
    return [(_along(selection, bound(surface.general)), bound(surface.target)) for bound in (min, max)]


def _end(selection: Selection, floor: float) -> float:
    return _along(selection, -floor if choosing.is_divergence(selection) else floor)


def _draw(selection: Selection, floor: float | None, fine_tune: str | None) -> Figure:
    marks = _marks(selection, fine_tune)
    front, bars = _front(selection), list(_bars(selection))
    end = None if floor is None else _end(selection, floor)
    drawn, axes = figure.ground(
        *_limits(selection, floor),
        _general_label(selection),
        f"target, mean {choosing.target_measure(selection)} →",
    )
    if choosing.is_divergence(selection):
        _label_in_nats(axes)
    lines = [front, *bars, *([_floor(axes, end)] if end is not None else [])]
    _draw_lines(axes, front, bars, end)
    draw_marks(drawn, axes, marks, lines)
    return drawn


def _general_label(selection: Selection) -> str:
    if choosing.is_divergence(selection):
        return "divergence from the base, nats; less →"
    return "general, mean nDCG@10 →"


def _label_in_nats(axes: Any) -> None:
    low, high = axes.get_xlim()
    shown: list[float] = []
    for nats in TICKS:
        place = -math.sqrt(nats)
        if low <= place <= high and (not shown or -math.sqrt(shown[-1]) - place >= APART * (high - low)):
            shown.append(nats)
    axes.set_xticks([-math.sqrt(nats) for nats in shown], [f"{nats:g}" for nats in shown])


def _bars(selection: Selection) -> Iterator[Line]:
    """The chosen mixture's paired difference to the base, from one end of its interval to the other."""
    base, chosen = selection.candidates[0], selection.candidates[-1]
    if chosen.target_to_base is None or chosen.general_to_base is None:
        return
    x = _along(selection, chosen.general.value)
    target, general = chosen.target_to_base, chosen.general_to_base
    yield [(x, base.target.value + end) for end in (target.low, target.high)]
    yield [
        (_along(selection, base.general.value + end), chosen.target.value)
        for end in (general.low, general.high)
    ]


def _floor(axes: Any, end: float) -> Line:
    return [(end, bound) for bound in axes.get_ylim()]


def _draw_lines(axes: Any, front: Line, bars: list[Line], end: float | None) -> None:
    axes.plot(*zip(*front, strict=True), color=figure.INK, alpha=0.55, linewidth=1.4, zorder=1)
    for bar in bars:
        axes.plot(*zip(*bar, strict=True), color=LOOKS["merged"].colour, linewidth=1.6, zorder=2)
    if end is None:
        return
    axes.plot(
        *zip(*_floor(axes, end), strict=True),
        color=figure.INK,
        alpha=0.5,
        linewidth=1,
        linestyle=(0, (4, 3)),
        zorder=1,
    )
    # On the side that the floor shuts out there is more room.
    axes.annotate(
        "floor",
        (end, 0.02),
        xycoords=("data", "axes fraction"),
        xytext=(-4, 0),
        textcoords="offset points",
        color=figure.INK,
        alpha=0.8,
        horizontalalignment="right",
    )
