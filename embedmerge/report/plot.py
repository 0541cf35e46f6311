"""Target against general: every model a labelled point, as SVG for the page or PNG for the README."""

from __future__ import annotations

import html
import io
import math
import re
import warnings
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from embedmerge import atomic
from embedmerge.report import wording

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from embedmerge.evaluation.compare import Comparison

# Stands for `currentColor` until the SVG is text; no model is drawn in it.
INK = "#010203"
WIDTH, HEIGHT = 6.0, 4.1
LABEL_LENGTH = 26
LEAST_SPAN = 2.0
# Hues with at least 3:1 against white and against the dark page.
_COLOURS = {"base": "#767c85", "fine-tune": "#c4620a", "merged": "#1a7fd0", "": "#8a69bd"}
_MARKERS = {"base": "s", "fine-tune": "^", "merged": "*", "": "o"}
_SIZES = {"base": 62.0, "fine-tune": 78.0, "merged": 210.0, "": 52.0}
_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "embedmerge",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 10.0,
}


@dataclass(frozen=True)
class _Point:
    name: str
    role: str
    general: float
    target: float

    @property
    def label(self) -> str:
        name = wording.one_line(self.name)
        half = (LABEL_LENGTH - 1) // 2
        short = name if len(name) <= LABEL_LENGTH else f"{name[:half]}…{name[-half:]}"
        return short if self.role in ("", name) else f"{short} ({self.role})"

    @property
    def words(self) -> str:
        scores = f"target {wording.points(self.target)}, general {wording.points(self.general)}"
        return f"{wording.one_line(self.name)}: {scores}"


def has_tradeoff(comparison: Comparison | None) -> bool:
    """Return whether there is something to draw: two models or more with a mean on both sides.

    Args:
        comparison: The comparison, None where the recipe names no task.

    >>> has_tradeoff(None)
    False
    """
    return comparison is not None and len(_points(comparison)) > 1


def _points(comparison: Comparison) -> list[_Point]:
    target, general = comparison.means.get("target", {}), comparison.means.get("general", {})
    return [
        _Point(model, wording.role(comparison, model), general[model].ndcg_at_10, target[model].ndcg_at_10)
        for model in comparison.models
        if model in target and model in general
    ]


def _front(points: Sequence[_Point]) -> list[_Point]:
    """Return the points that no other beats on both sides, from left to right."""
    front: list[_Point] = []
    for point in sorted(points, key=lambda point: (-point.general, -point.target)):
        if not front or point.target > front[-1].target:
            front.append(point)
    return front[::-1]


def _limits(values: Sequence[float]) -> tuple[float, float]:
    """Return axis limits with air around the values, and never so narrow that noise looks like a gap."""
    low, high = min(values), max(values)
    span = max(high - low, LEAST_SPAN)
    middle = (low + high) / 2
    return middle - 0.68 * span, middle + 0.68 * span


def _steps(axes: Any, points: Sequence[_Point]) -> list[tuple[float, float]]:
    """Return the corners of the staircase over the front, from the left edge to the lower one."""
    front = _front(points)
    corners = [(axes.get_xlim()[0], front[0].target)]
    for point, following in zip(front, [*front[1:], None], strict=True):
        corners.append((point.general, point.target))
        corners.append((point.general, following.target if following else axes.get_ylim()[0]))
    return corners


def _draw_front(axes: Any, points: Sequence[_Point]) -> None:
    x, y = zip(*_steps(axes, points), strict=True)
    axes.plot(x, y, color=INK, alpha=0.4, linewidth=1, linestyle=(0, (4, 3)), zorder=1)


def _places(width: float, height: float, reach: float) -> Iterator[tuple[float, float]]:
    """Yield offsets of a label's centre from its point, the near ones and those beside the point first."""
    for ring in range(10):
        distance = reach + 9.0 * ring
        for angle in (0, 180, 90, 270, 35, 145, 325, 215, 60, 120, 300, 240):
            along, up = math.cos(math.radians(angle)), math.sin(math.radians(angle))
            yield along * (distance + width / 2), up * (distance + height / 2)


def _shared(one: Bbox, other: Bbox) -> float:
    """Return the area that two boxes share; one pixel more each way, so that lines and touches count."""
    common = Bbox.intersection(one, other)
    return 0.0 if common is None else float((common.width + 1) * (common.height + 1))


def _best(choices: Sequence[Bbox], frame: Bbox, taken: Sequence[Bbox], lines: Sequence[Bbox]) -> Bbox:
    """Return the place that covers least, labels counting more than lines; an early one if alike."""

    def cost(place: int) -> float:
        covered = sum(_shared(choices[place], box) for box in taken)
        return covered + 0.2 * sum(_shared(choices[place], line) for line in lines) + 0.7 * place

    fitting = [place for place, box in enumerate(choices) if _inside(box, frame)]
    return choices[min(fitting or range(len(choices)), key=cost)]


def _nearest(box: Bbox, spot: tuple[float, float]) -> tuple[float, float]:
    return min(max(spot[0], box.x0), box.x1), min(max(spot[1], box.y0), box.y1)


def _inside(box: Bbox, frame: Bbox) -> bool:
    return bool(frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1)


def _around(x: float, y: float, width: float, height: float) -> Bbox:
    return Bbox.from_bounds(x - width / 2, y - height / 2, width, height)


def _dots(axes: Any, points: Sequence[_Point], pixels: float) -> list[Bbox]:
    spots = [axes.transData.transform((point.general, point.target)) for point in points]
    sizes = [math.sqrt(_SIZES[point.role]) * pixels for point in points]
    return [_around(x, y, size, size) for (x, y), size in zip(spots, sizes, strict=True)]


def _lines(axes: Any, points: Sequence[_Point]) -> list[Bbox]:
    corners = axes.transData.transform(_steps(axes, points))
    return [
        Bbox.from_extents(*map(min, one, other), *map(max, one, other)) for one, other in pairwise(corners)
    ]


def _draw_labels(figure: Figure, axes: Any, points: Sequence[_Point]) -> None:
    """Set every label where it covers neither a point nor another label, with a line where it is far off."""
    renderer = FigureCanvasAgg(figure).get_renderer()
    pixels = figure.dpi / 72
    taken, lines = _dots(axes, points, pixels), _lines(axes, points)
    for point in points:
        weight = "bold" if point.role == "merged" else "normal"
        # Names are no formulas: parse_math off keeps their dollar signs.
        text = axes.text(0, 0, point.label, color=INK, weight=weight, parse_math=False, zorder=4)
        text.set(horizontalalignment="center", verticalalignment="center")
        extent = text.get_window_extent(renderer)
        x, y = axes.transData.transform((point.general, point.target))
        reach = math.sqrt(_SIZES[point.role]) * pixels / 2 + 3 * pixels
        choices = [
            _around(x + dx, y + dy, extent.width, extent.height)
            for dx, dy in _places(extent.width, extent.height, reach)
        ]
        best = _best(choices, axes.bbox, taken, lines)
        taken.append(best)
        text.set_transform(axes.transAxes)
        text.set_position(
            axes.transAxes.inverted().transform(((best.x0 + best.x1) / 2, (best.y0 + best.y1) / 2))
        )
        _lead(axes, (x, y), best, reach + 8 * pixels)


def _lead(axes: Any, spot: tuple[float, float], box: Bbox, least: float) -> None:
    """Draw a line from a point to its label where it is farther off than `least` pixels."""
    end = _nearest(box, spot)
    if math.dist(spot, end) <= least:
        return
    ends = axes.transAxes.inverted().transform([spot, end])
    axes.plot(*ends.T, color=INK, alpha=0.45, linewidth=0.7, transform=axes.transAxes, zorder=1)


def _draw(comparison: Comparison) -> Figure:
    points = _points(comparison)
    figure = Figure(figsize=(WIDTH, HEIGHT), dpi=100)
    axes: Any = figure.add_axes((0.11, 0.13, 0.85, 0.84))
    axes.set_xlim(*_limits([point.general for point in points]))
    axes.set_ylim(*_limits([point.target for point in points]))
    for spine in axes.spines.values():
        spine.set(color=INK, alpha=0.35)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(color=INK, labelcolor=INK, length=3)
    axes.grid(color=INK, alpha=0.1, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.set_xlabel("general, mean nDCG@10 →", color=INK)
    axes.set_ylabel("target, mean nDCG@10 →", color=INK)
    _draw_front(axes, points)
    for place, point in enumerate(points):
        dots = axes.scatter(
            [point.general],
            [point.target],
            s=_SIZES[point.role],
            marker=_MARKERS[point.role],
            color=_COLOURS[point.role],
            linewidths=0,
            zorder=3,
            clip_on=False,
        )
        dots.set_gid(f"model-{place}")
    _draw_labels(figure, axes, points)
    return figure


def _saved(comparison: Comparison, **options: Any) -> bytes:
    if not has_tradeoff(comparison):
        msg = "no trade-off to draw: two models with scores on both sides are needed"
        raise ValueError(msg)
    target = io.BytesIO()
    with mpl.rc_context(_STYLE), warnings.catch_warnings():
        # A name in a script that the font lacks is measured as boxes; the reader's browser has the glyphs.
        warnings.filterwarnings("ignore", message=".*[Gg]lyph")
        _draw(comparison).savefig(target, **options)
    return target.getvalue()


def _inline(svg: str, points: Sequence[_Point]) -> str:
    """Return matplotlib's SVG as an element of a page: coloured by it, sized by it, readable aloud."""
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<defs>\s*<style.*?</defs>\s*", "", body, count=1, flags=re.DOTALL)
    head_end = body.index(">") + 1
    view = re.search(r'viewBox="([^"]+)"', body[:head_end])
    words = "Target against general retrieval. " + "; ".join(point.words for point in points)
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="{view.group(1) if view else ""}" role="img" aria-label="{html.escape(words)}" '
        'stroke-linejoin="round" stroke-linecap="butt">\n <title>Target against general retrieval</title>'
    )
    body = head + body[head_end:].replace(INK, "currentColor")
    for place, point in enumerate(points):
        group = f'<g id="model-{place}">'
        body = body.replace(group, f"{group}<title>{html.escape(point.words)}</title>")
    body = re.sub(r"'DejaVu Sans'", "system-ui", body)
    return re.sub(r"[ \t]+\n", "\n", body)


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
    metadata = {"Date": None, "Creator": None, "Format": None, "Type": None}
    data = _saved(comparison, format="svg", transparent=True, metadata=metadata)
    return _inline(data.decode("utf-8"), _points(comparison))


def tradeoff_png(comparison: Comparison, path: Path) -> None:
    """Write the trade-off as PNG on white.

    Args:
        comparison: The comparison.
        path: File to write.

    Raises:
        ValueError: There is nothing to draw; ask `has_tradeoff` first.
    """
    data = _saved(comparison, format="png", dpi=200, facecolor="white", metadata={"Software": None})
    atomic.write_bytes(path, data)
