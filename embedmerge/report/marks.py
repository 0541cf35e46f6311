"""Models as labelled marks in a figure, no label on a mark or on another label."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from matplotlib.backends.backend_agg import FigureCanvasAgg

from embedmerge.report import wording
from embedmerge.report.figure import INK

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from matplotlib.figure import Figure

LABEL_LENGTH = 26
_STRAIGHT = ((1.0, 0.0), (-1.0, 0.0), (0.0, 1.0), (0.0, -1.0))
# Beside the mark but off its level, over or under it but off its column: clear of bars through it.
_ASLANT = tuple((along, up) for up in (0.6, -0.6) for along in (1.0, -1.0))
_STEEP = tuple((along, up) for up in (0.9, -0.9) for along in (0.5, -0.5))
_DIRECTIONS = (*_STRAIGHT, *_ASLANT, *_STEEP)


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


class Box(NamedTuple):
    """A rectangle in pixels; plain numbers, for thousands are compared."""

    x0: float
    y0: float
    x1: float
    y1: float

    @classmethod
    def around(cls, x: float, y: float, width: float, height: float) -> Box:
        """A box by its centre."""
        return cls(x - width / 2, y - height / 2, x + width / 2, y + height / 2)

    def within(self, frame: Any) -> bool:
        """Whether it lies in another."""
        return bool(
            frame.x0 <= self.x0 and self.x1 <= frame.x1 and frame.y0 <= self.y0 and self.y1 <= frame.y1
        )

    def shared(self, other: Box) -> float:
        """Area in common, one pixel more each way, so that lines and touches count.

        >>> Box(0, 0, 4, 4).shared(Box(2, 2, 9, 9)), Box(0, 0, 4, 4).shared(Box(5, 0, 9, 4))
        (9, 0.0)
        """
        width = min(self.x1, other.x1) - max(self.x0, other.x0)
        height = min(self.y1, other.y1) - max(self.y0, other.y0)
        return (width + 1) * (height + 1) if width >= 0 and height >= 0 else 0.0


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
        for along, up in _DIRECTIONS:
            yield along * (distance + width / 2), up * (distance + height / 2)


def _best(choices: Sequence[Box], frame: Any, taken: Sequence[Box], lines: Sequence[Box]) -> Box:
    """Return the place that covers least, labels counting far more than lines; an early one if alike."""

    def cost(place: int) -> float:
        covered = sum(choices[place].shared(box) for box in taken)
        return 5 * covered + 0.2 * sum(choices[place].shared(line) for line in lines) + 0.7 * place

    fitting = [place for place, box in enumerate(choices) if box.within(frame)]
    return choices[min(fitting or range(len(choices)), key=cost)]


def _nearest(box: Box, spot: tuple[float, float]) -> tuple[float, float]:
    return min(max(spot[0], box.x0), box.x1), min(max(spot[1], box.y0), box.y1)


def _dots(axes: Any, marks: Sequence[Mark], pixels: float) -> list[Box]:
    spots = [axes.transData.transform((mark.x, mark.y)) for mark in marks]
    sizes = [math.sqrt(mark.look.size) * pixels for mark in marks]
    return [Box.around(x, y, size, size) for (x, y), size in zip(spots, sizes, strict=True)]


def _boxes(axes: Any, line: Sequence[tuple[float, float]]) -> Iterator[Box]:
    """Small boxes along a line, a slanted one's being cut so that they stay slim."""
    corners = axes.transData.transform(line)
    for one, other in pairwise(corners):
        slant = min(abs(one - other))
        pieces = 1 + int(slant // 6)
        for piece in range(pieces):
            start, stop = one + (other - one) * piece / pieces, one + (other - one) * (piece + 1) / pieces
            yield Box(*map(float, map(min, start, stop)), *map(float, map(max, start, stop)))


def _draw_labels(figure: Figure, axes: Any, marks: Sequence[Mark], lines: Sequence[Box]) -> None:
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
            Box.around(x + dx, y + dy, extent.width, extent.height)
            for dx, dy in _places(extent.width, extent.height, reach)
        ]
        best = _best(choices, axes.bbox, taken, lines)
        taken.append(best)
        text.set_transform(axes.transAxes)
        text.set_position(
            axes.transAxes.inverted().transform(((best.x0 + best.x1) / 2, (best.y0 + best.y1) / 2))
        )
        _lead(axes, (x, y), best, reach + 8 * pixels)


def _lead(axes: Any, spot: tuple[float, float], box: Box, least: float) -> None:
    """Draw a line from a mark to its label where it is farther off than `least` pixels."""
    end = _nearest(box, spot)
    if math.dist(spot, end) <= least:
        return
    ends = axes.transAxes.inverted().transform([spot, end])
    axes.plot(*ends.T, color=INK, alpha=0.45, linewidth=0.7, transform=axes.transAxes, zorder=1)
