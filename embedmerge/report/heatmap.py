"""What task vectors look like, block by block, as a heat map for the terminal.

Every cell has its number, so the map reads the same without colours.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Group
from rich.style import Style
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rich.console import RenderableType

    from embedmerge.diagnosis.diagnose import Diagnosis
    from embedmerge.diagnosis.task_vectors import BlockMeasures, PairMeasures

    Colour = tuple[int, int, int]

GAP = 2
MOST_PAIRS = 3  # that have columns of their own; more are folded into their mean and extremes
NOTHING = "-"
# Light ends in the middle or at zero, so that black numbers stay legible; ColorBrewer's Oranges, RdBu, Blues.
WARM = ((255, 245, 235), (253, 174, 107), (217, 72, 1))
COLD = ((247, 251, 255), (158, 202, 225), (66, 146, 198))
DIVERGING = ((103, 169, 207), (247, 247, 247), (239, 138, 98))

Show = Callable[[float], str]


@dataclass(frozen=True)
class _Scale:
    """Numbers to colours, and to words.

    Attributes:
        low: Number that has the first colour.
        high: Number that has the last one.
        colours: Three, with equal steps between.
        show: Writes a number.
    """

    low: float
    high: float
    colours: tuple[Colour, Colour, Colour]
    show: Show

    def cell(self, value: float | None, width: int) -> Text:
        """A number on its colour, right-justified."""
        if value is None:
            return Text(NOTHING.rjust(width), style="dim")
        share = (value - self.low) / (self.high - self.low) if self.high > self.low else 0.0
        return Text(self.show(value).rjust(width - 1) + " ", style=self._style(min(max(share, 0.0), 1.0)))

    def _style(self, share: float) -> Style:
        left, right = self.colours[:2] if share < 0.5 else self.colours[1:]
        along = 2 * share - (share >= 0.5)
        red, green, blue = (round(a + along * (b - a)) for a, b in zip(left, right, strict=True))
        return Style(color="#000000", bgcolor=f"#{red:02x}{green:02x}{blue:02x}")


@dataclass(frozen=True)
class _Columns:
    """Columns under one title, with a number for each row.

    Attributes:
        title: What the numbers are.
        labels: One for each column.
        rows: One sequence of numbers for each row.
        scale: Their colours.
    """

    title: str
    labels: tuple[str, ...]
    rows: tuple[Sequence[float | None], ...]
    scale: _Scale

    @property
    def widths(self) -> list[int]:
        """Width of each column; the first one is wider where the title asks for it."""
        shown = [
            [NOTHING if row[at] is None else self.scale.show(float(row[at] or 0)) for row in self.rows]
            for at in range(len(self.labels))
        ]
        widths = [max(map(len, (label, *cells))) + 2 for label, cells in zip(self.labels, shown, strict=True)]
        widths[0] += max(len(self.title) + 1 - sum(widths), 0)
        return widths

    def heads(self) -> tuple[Text, Text]:
        """The title, and the labels below it."""
        labels = (label.rjust(width - 1) + " " for label, width in zip(self.labels, self.widths, strict=True))
        return Text(self.title.rjust(sum(self.widths) - 1) + " ", style="bold"), Text("".join(labels))

    def cells(self, row: int) -> Text:
        """The cells of one row."""
        pairs = zip(self.rows[row], self.widths, strict=True)
        return Text.assemble(*(self.scale.cell(value, width) for value, width in pairs))


def heat_map(diagnosis: Diagnosis, width: int) -> Group:
    """The measures of every block, the whole model last; what does not fit side by side is set below.

    Args:
        diagnosis: The measures.
        width: Columns of the terminal.
    """
    letters = string.ascii_uppercase[: len(diagnosis.experts)]
    rows = (*diagnosis.blocks, diagnosis.model)
    names = [block.name for block in rows]
    parts: list[RenderableType] = [*_legend(diagnosis, letters), Text("")]
    lead = max(map(len, names)) + GAP
    for columns in _side_by_side(_by_block(rows, letters), width - lead):
        parts += [*_lines(names, columns, lead), Text("")]
    if len(diagnosis.model.pairs) > MOST_PAIRS:
        parts += [*_all_pairs(diagnosis.model, letters, width), Text("")]
    return Group(*parts[:-1])


def _legend(diagnosis: Diagnosis, letters: str) -> Iterator[Text]:
    yield Text(f"Task vectors against {diagnosis.base}, {diagnosis.model.elements:,} weights", style="bold")
    for letter, name in zip(letters, diagnosis.experts, strict=True):
        yield Text.assemble((letter, "bold"), f"  {name}")


def _by_block(rows: Sequence[BlockMeasures], letters: str) -> Iterator[_Columns]:
    norms = tuple([expert.relative_norm for expert in row.experts] for row in rows)
    # The outlying block would leave the others without colour if the scale began at zero.
    largest = max((norm for row in norms for norm in row if norm is not None), default=0.0)
    yield _Columns("norm / base's", tuple(letters), norms, _Scale(0, largest, WARM, _short))
    if rows[-1].pairs:
        yield from _pairs(rows, letters)
    ranks = tuple([expert.effective_rank for expert in row.experts] for row in rows)
    if any(rank is not None for row in ranks for rank in row):
        shares = tuple([expert.rank_share for expert in row.experts] for row in rows)
        yield _Columns(
            "effective rank", tuple(letters), ranks, _Scale(0, _full_rank(ranks, shares), COLD, _whole)
        )


def _pairs(rows: Sequence[BlockMeasures], letters: str) -> Iterator[_Columns]:
    cosines = tuple([pair.cosine for pair in row.pairs] for row in rows)
    signs = tuple([pair.sign_agreement for pair in row.pairs] for row in rows)
    labels = tuple(_pair_labels(letters))
    if len(labels) > MOST_PAIRS:
        labels = ("least", "mean", "most")
        cosines, signs = (tuple(map(_folded, measured)) for measured in (cosines, signs))
    if len(letters) > 2:
        signs = tuple([*row, block.all_agree] for row, block in zip(signs, rows, strict=True))
    yield _Columns("cosine", labels, cosines, COSINES)
    yield _Columns("same sign", (*labels, "all") if len(letters) > 2 else labels, signs, SIGNS)


def _all_pairs(model: BlockMeasures, letters: str, width: int) -> Iterator[Text]:
    """Every expert against every other, over the whole model."""
    tables = [
        _Columns(title, tuple(letters), _square(model.pairs, letters, measure), scale)
        for title, measure, scale in (
            ("cosine, whole model", lambda pair: pair.cosine, COSINES),
            ("same sign, whole model", lambda pair: pair.sign_agreement, SIGNS),
        )
    ]
    for columns in _side_by_side(tables, width - 1 - GAP):
        yield from _lines(list(letters), columns, 1 + GAP)


def _square(
    pairs: Sequence[PairMeasures], letters: str, measure: Callable[[PairMeasures], float | None]
) -> tuple[list[float | None], ...]:
    found = dict(zip(_pair_labels(letters), map(measure, pairs), strict=True))
    return tuple([found.get(min(a, b) + "/" + max(a, b)) for b in letters] for a in letters)


def _side_by_side(groups: Iterable[_Columns], width: int) -> Iterator[list[_Columns]]:
    """The groups in runs that fit the width, one at least in each."""
    run: list[_Columns] = []
    for group in groups:
        if run and sum(sum(each.widths) + GAP for each in (*run, group)) - GAP > width:
            yield run
            run = []
        run.append(group)
    if run:
        yield run


def _lines(names: Sequence[str], groups: Sequence[_Columns], lead: int) -> Iterator[Text]:
    """One line for each row, below two of headers."""
    gap = " " * GAP
    for head in zip(*(group.heads() for group in groups), strict=True):
        yield Text(" " * lead) + Text(gap).join(head)
    for row, name in enumerate(names):
        cells = Text(gap).join(group.cells(row) for group in groups)
        yield Text(name.ljust(lead), style="bold" if row == len(names) - 1 else "") + cells


def _pair_labels(letters: str) -> list[str]:
    return [f"{a}/{b}" for at, a in enumerate(letters) for b in letters[at + 1 :]]


def _folded(values: Sequence[float | None]) -> list[float | None]:
    """Least, mean and most of those that are known."""
    known = [value for value in values if value is not None]
    return [min(known), sum(known) / len(known), max(known)] if known else [None] * 3


def _full_rank(ranks: Sequence[Sequence[float | None]], shares: Sequence[Sequence[float | None]]) -> float:
    """The rank that a share of 1 would mean."""
    pairs = [
        (a, b) for row, share in zip(ranks, shares, strict=True) for a, b in zip(row, share, strict=True)
    ]
    return max(rank / share for rank, share in pairs if rank is not None and share)


def _short(value: float) -> str:
    return f"{value:.3f}" if value < 9.9995 else f"{value:.3g}"


def _signed(value: float) -> str:
    return f"{round(value, 2) + 0.0:.2f}"  # adding zero takes the sign off a rounded -0.0


def _percent(value: float) -> str:
    return f"{100 * value:.0f}%"


def _whole(value: float) -> str:
    return f"{value:.0f}"


COSINES = _Scale(-1, 1, DIVERGING, _signed)
SIGNS = _Scale(0, 1, DIVERGING, _percent)
