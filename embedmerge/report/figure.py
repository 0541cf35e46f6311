"""Figures that page and README share: one ink that the page colours, the same bytes for the same numbers."""

from __future__ import annotations

import html
import io
import re
import warnings
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

# Stands for `currentColor` until the SVG is text; nothing else is drawn in it.
INK = "#010203"
WIDTH, HEIGHT = 6.0, 4.1
AXES = (0.11, 0.13, 0.85, 0.84)  # left, bottom, width and height as shares of the figure
POINTS = 72  # user units of the SVG in an inch
_MARGIN = 0.18  # of the span, on either side
_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "embedmerge",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 10.0,
}


def limits(values: Sequence[float], least: float) -> tuple[float, float]:
    """Axis limits with air around the values, and never so narrow that noise looks like a gap.

    Args:
        values: What is to be seen.
        least: Span that the values are given at least.

    >>> limits([70.0, 80.0], 2.0)
    (68.2, 81.8)
    """
    low, high = min(values), max(values)
    span = max(high - low, least)
    middle = (low + high) / 2
    half = (0.5 + _MARGIN) * span
    return middle - half, middle + half


def ground(x: tuple[float, float], y: tuple[float, float], x_label: str, y_label: str) -> tuple[Figure, Any]:
    """An empty figure and its axes.

    Args:
        x: Limits along.
        y: Limits up.
        x_label: Below the axis.
        y_label: Beside the axis.
    """
    figure = Figure(figsize=(WIDTH, HEIGHT), dpi=100)
    axes: Any = figure.add_axes(AXES)
    axes.set_xlim(*x)
    axes.set_ylim(*y)
    for spine in axes.spines.values():
        spine.set(color=INK, alpha=0.35)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(color=INK, labelcolor=INK, length=3)
    axes.grid(color=INK, alpha=0.1, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.set_xlabel(x_label, color=INK)
    axes.set_ylabel(y_label, color=INK)
    return figure, axes


def frame(x: tuple[float, float], y: tuple[float, float]) -> dict[str, str]:
    """Where the axes lie in the SVG, as data attributes for a script that adds to it.

    >>> frame((0.0, 1.0), (70.0, 80.0))["data-left"]
    '47.52'

    Args:
        x: Limits along.
        y: Limits up.

    Returns:
        `data-left`, `-right`, `-top` and `-bottom` in the SVG's units; `data-x-low` to `data-y-high` in those
        of the numbers.
    """
    left, bottom, width, height = AXES
    across, up = WIDTH * POINTS, HEIGHT * POINTS
    places = {
        "left": left * across,
        "right": (left + width) * across,
        "top": (1 - bottom - height) * up,
        "bottom": (1 - bottom) * up,
        "x-low": x[0],
        "x-high": x[1],
        "y-low": y[0],
        "y-high": y[1],
    }
    return {f"data-{name}": f"{value:.6g}" for name, value in places.items()}


def saved(draw: Callable[[], Figure], **options: Any) -> bytes:
    """What `savefig` writes, in our style.

    Args:
        draw: Makes the figure.
        options: Of `savefig`.
    """
    target = io.BytesIO()
    with mpl.rc_context(_STYLE), warnings.catch_warnings():
        # A name in a script that the font lacks is measured as boxes; the reader's browser has the glyphs.
        warnings.filterwarnings("ignore", message=".*[Gg]lyph")
        draw().savefig(target, **options)
    return target.getvalue()


def inline_svg(
    draw: Callable[[], Figure],
    title: str,
    words: dict[str, str],
    prefix: str = "",
    attributes: dict[str, str] | None = None,
) -> str:
    """A figure as an element of a page: coloured by it, sized by it, readable aloud.

    Args:
        draw: Makes the figure.
        title: What it shows.
        words: What each group says when it is pointed at, by the group's id.
        prefix: Before every id, so that a page may hold several figures.
        attributes: Further attributes of the element.
    """
    metadata = {"Date": None, "Creator": None, "Format": None, "Type": None}
    svg = saved(draw, format="svg", transparent=True, metadata=metadata).decode("utf-8")
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<defs>\s*<style.*?</defs>\s*", "", body, count=1, flags=re.DOTALL)
    head_end = body.index(">") + 1
    view = re.search(r'viewBox="([^"]+)"', body[:head_end])
    aloud = f"{title}. {'; '.join(words.values())}"
    further = "".join(f' {name}="{html.escape(value)}"' for name, value in (attributes or {}).items())
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="{view.group(1) if view else ""}" role="img" aria-label="{html.escape(aloud)}" '
        f'stroke-linejoin="round" stroke-linecap="butt"{further}>\n <title>{html.escape(title)}</title>'
    )
    drawn = body[head_end:].replace(INK, "currentColor")
    for group, said in words.items():
        opening = f'<g id="{group}">'
        drawn = drawn.replace(opening, f"{opening}<title>{html.escape(said)}</title>")
    drawn = drawn.replace("'DejaVu Sans'", "system-ui")
    if prefix:
        drawn = re.sub(r'( id="|href="#|url\(#)', rf"\g<1>{prefix}", drawn)
    return re.sub(r"[ \t]+\n", "\n", head + drawn)
