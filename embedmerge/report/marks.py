"""Models as labelled marks in a figure, no label on a mark or on another label."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.transforms import Bbox

from embedmerge.report import wording
from embedmerge.report.figure import INK

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from matplotlib.figure import Figure

LABEL_LENGTH = 26


@dataclass(frozen=True)
class Look:
    """How a kind of model is drawn.

    Attributes:
        marker: Its shape.
        colour: With at least 3:1 against white and against the dark page.
        size: Square points.
    """

    marker: str
    colour: str
    size: float


LOOKS = {
    "base": Look("s", "#767c85", 62.0),
    "fine-tune": Look("^", "#c4620a", 78.0),
    "merged": Look("*", "#1a7fd0", 210.0),
    "uniform": Look("D", "#2b8a5b", 46.0),
    "cocktail": Look("P", "#c0478a", 78.0),
    "placebo": Look("X", "#9a7209", 70.0),
    "": Look("o", "#8a69bd", 52.0),
}


@dataclass(frozen=True)
class Mark:
    """A model at its place.

    Attributes:
        name: Its name.
        kind: What it is drawn as, one of `LOOKS`.
        x: Along.
        y: Up.
        role: Said with the name where the name does not say it.
    """

    name: str
    kind: str
    x: float
    y: float
    role: str = ""

    @property
    def look(self) -> Look:
        """How it is drawn."""
        return LOOKS[self.kind]

    @property
    def label(self) -> str:
        """Name and role, the middle of a long name left out."""
        name = wording.one_line(self.name)
        half = (LABEL_LENGTH - 1) // 2
        short = name if len(name) <= LABEL_LENGTH else f"{name[:half]}…{name[-half:]}"
        return short if self.role in ("", name) else f"{short} ({self.role})"


def draw_marks(
    figure: Figure, axes: Any, marks: Sequence[Mark], lines: Sequence[Sequence[tuple[float, float]]]
) -> None:
    """Draw marks as groups `model-0` and so on, and their labels.

    Args:
        figure: The figure.
        axes: Its axes, with their final limits.
        marks: The models.
        lines: Corners of the lines already drawn, which labels had better not cover.
    """
    for place, mark in enumerate(marks):
        look = mark.look
        dots = axes.scatter(
            [mark.x],
            [mark.y],
            s=look.size,
            marker=look.marker,
            color=look.colour,
            linewidths=0,
            zorder=3,
            clip_on=False,
        )
        dots.set_gid(f"model-{place}")
    _draw_labels(figure, axes, marks, [box for line in lines for box in _boxes(axes, line)])


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


def _dots(axes: Any, marks: Sequence[Mark], pixels: float) -> list[Bbox]:
    spots = [axes.transData.transform((mark.x, mark.y)) for mark in marks]
    sizes = [math.sqrt(mark.look.size) * pixels for mark in marks]
    return [_around(x, y, size, size) for (x, y), size in zip(spots, sizes, strict=True)]


def _boxes(axes: Any, line: Sequence[tuple[float, float]]) -> Iterator[Bbox]:
    """Small boxes along a line, a slanted one's being cut so that they stay slim."""
    corners = axes.transData.transform(line)
    for one, other in zip(corners[:-1], corners[1:], strict=True):
        slant = min(abs(one - other))
        pieces = 1 + int(slant // 6)
        for piece in range(pieces):
            start, stop = one + (other - one) * piece / pieces, one + (other - one) * (piece + 1) / pieces
            yield Bbox.from_extents(*map(min, start, stop), *map(max, start, stop))


def _draw_labels(figure: Figure, axes: Any, marks: Sequence[Mark], lines: Sequence[Bbox]) -> None:
    """Set every label where it covers neither a mark nor another label, with a line where it is far off."""
    renderer = FigureCanvasAgg(figure).get_renderer()
    pixels = figure.dpi / 72
    taken = _dots(axes, marks, pixels)
    for mark in marks:
        weight = "bold" if mark.kind == "merged" else "normal"
        # Names are no formulas: parse_math off keeps their dollar signs.
        text = axes.text(0, 0, mark.label, color=INK, weight=weight, parse_math=False, zorder=4)
        text.set(horizontalalignment="center", verticalalignment="center")
        extent = text.get_window_extent(renderer)
        x, y = axes.transData.transform((mark.x, mark.y))
        reach = math.sqrt(mark.look.size) * pixels / 2 + 3 * pixels
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
    """Draw a line from a mark to its label where it is farther off than `least` pixels."""
    end = _nearest(box, spot)
    if math.dist(spot, end) <= least:
        return
    ends = axes.transAxes.inverted().transform([spot, end])
    axes.plot(*ends.T, color=INK, alpha=0.45, linewidth=0.7, transform=axes.transAxes, zorder=1)
