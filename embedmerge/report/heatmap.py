"""Task vectors and weights, block by block, as a heat map for the terminal.

Every cell has its number, so the map reads the same without colours.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import chain, pairwise
from typing import TYPE_CHECKING

from rich.console import Group
from rich.style import Style
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rich.console import RenderableType

    from embedmerge.diagnosis.diagnose import Diagnosis
    from embedmerge.diagnosis.task_vectors import BlockMeasures, PairMeasures
    from embedmerge.report.blocks import BlockWeights

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
            return Text(NOTHING.rjust(width - 1) + " ", style="dim")
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
        """Width of each column."""
        shown = [
            [NOTHING if row[at] is None else self.scale.show(float(row[at] or 0)) for row in self.rows]
            for at in range(len(self.labels))
        ]
        return [max(map(len, (label, *cells))) + 2 for label, cells in zip(self.labels, shown, strict=True)]

    @property
    def width(self) -> int:
        """Width of all together, and of the title over them."""
        return max(sum(self.widths), len(self.title) + 1)

    def cut(self, width: int) -> Iterator[_Columns]:
        """Parts that fit the width, one column at least in each."""
        starts, taken = [0], 0
        for at, column in enumerate(self.widths):
            if taken + column > width and at > starts[-1]:
                starts.append(at)
                taken = 0
            taken += column
        for start, stop in pairwise([*starts, len(self.labels)]):
            yield replace(
                self, labels=self.labels[start:stop], rows=tuple(row[start:stop] for row in self.rows)
            )

    def heads(self) -> tuple[Text, Text]:
        """The title, and the labels below it."""
        labels = (label.rjust(width - 1) + " " for label, width in zip(self.labels, self.widths, strict=True))
        title = Text(self.title.rjust(self.width - 1) + " ", style="bold")
        return title, Text("".join(labels).rjust(self.width))

    def cells(self, row: int) -> Text:
        """The cells of one row."""
        pairs = zip(self.rows[row], self.widths, strict=True)
        margin = " " * (self.width - sum(self.widths))
        return Text.assemble(margin, *(self.scale.cell(value, width) for value, width in pairs))


def heat_map(diagnosis: Diagnosis, width: int) -> Group:
    """The measures of every block, the whole model last; what does not fit side by side is set below.

    Args:
        diagnosis: The measures.
        width: Columns of the terminal.
    """
    letters = _letters(len(diagnosis.experts))
    rows = (*diagnosis.blocks, diagnosis.model)
    names = [block.name for block in rows]
    parts: list[RenderableType] = [*_legend(diagnosis, letters), Text("")]
    lead = max(map(len, names)) + GAP
    for columns in _side_by_side(_by_block(rows, letters), width - lead):
        parts += [*_lines(names, columns, lead), Text("")]
    if len(diagnosis.model.pairs) > MOST_PAIRS:
        parts += [*_all_pairs(diagnosis.model, letters, width), Text("")]
    return Group(*parts[:-1])


def weight_map(weights: BlockWeights, width: int) -> Group:
    """Weights of every source in every block; what does not fit side by side is set below.

    Args:
        weights: The weights.
        width: Columns of the terminal.
    """
    known = [weight for row in weights.rows for weight in row if weight is not None]
    scale = _Scale(min(0.0, *known), max(1.0, *known), COLD, _short)
    lead = max(map(len, weights.labels)) + GAP
    parts: list[RenderableType] = []
    for columns in _side_by_side([_Columns("weight", weights.sources, weights.rows, scale)], width - lead):
        parts += [*_lines(weights.labels, columns, lead, total=False), Text("")]
    return Group(*parts[:-1])


def _letters(experts: int) -> list[str]:
    """A, B and so on; behind Z comes AA."""
    alphabet = [chr(code) for code in range(ord("A"), ord("Z") + 1)]
    return [alphabet[at % 26] * (at // 26 + 1) for at in range(experts)]


def _legend(diagnosis: Diagnosis, letters: Sequence[str]) -> Iterator[Text]:
    yield Text(f"Task vectors against {diagnosis.base}, {diagnosis.model.elements:,} weights", style="bold")
    for letter, name in zip(letters, diagnosis.experts, strict=True):
        yield Text.assemble((letter.ljust(len(letters[-1])), "bold"), f"  {name}")


def _by_block(rows: Sequence[BlockMeasures], letters: Sequence[str]) -> Iterator[_Columns]:
    norms = tuple([expert.relative_norm for expert in row.experts] for row in rows)
    # The outlying block would leave the others without colour if the scale began at zero.
    largest = max((norm for row in norms for norm in row if norm is not None), default=0.0)
    yield _Columns("norm / base's", tuple(letters), norms, _Scale(0, largest, WARM, _short))
    if rows[-1].pairs:
        yield from _pairs(rows, letters)
    ranks = tuple([expert.effective_rank for expert in row.experts] for row in rows)
    if any(rank is not None for row in ranks for rank in row):
        shares = tuple([expert.rank_share for expert in row.experts] for row in rows)
        full = _full_ranks(ranks, shares)
        title = "effective rank" + (f" of {full[-1]:.0f}" if full[-1] - full[0] < 0.5 else "")
        yield _Columns(title, tuple(letters), ranks, _Scale(0, full[-1], COLD, _whole))


def _pairs(rows: Sequence[BlockMeasures], letters: Sequence[str]) -> Iterator[_Columns]:
    cosines = tuple([pair.cosine for pair in row.pairs] for row in rows)
    signs = tuple([pair.sign_agreement for pair in row.pairs] for row in rows)
    labels = tuple(_pair_labels(letters))
    if len(labels) > MOST_PAIRS:
        labels = ("least", "mean", "most")
        cosines, signs = (tuple(map(_folded, measured)) for measured in (cosines, signs))
    yield _Columns("cosine", labels, cosines, COSINES)
    yield _Columns("same sign", labels, signs, SIGNS)
    if len(letters) > 2:
        # By chance all of n agree on 2 in 2^n, so half is no middle here.
        yield _Columns("all", ("same",), tuple([row.all_agree] for row in rows), _Scale(0, 1, COLD, _percent))


def _all_pairs(model: BlockMeasures, letters: Sequence[str], width: int) -> Iterator[Text]:
    """Every expert against every other, over the whole model."""
    tables = [
        _Columns(title, tuple(letters), _square(model.pairs, letters, measure), scale)
        for title, measure, scale in (
            ("cosine, whole model", lambda pair: pair.cosine, COSINES),
            ("same sign, whole model", lambda pair: pair.sign_agreement, SIGNS),
        )
    ]
    lead = len(letters[-1]) + GAP
    for columns in _side_by_side(tables, width - lead):
        yield from _lines(letters, columns, lead, total=False)


def _square(
    pairs: Sequence[PairMeasures], letters: Sequence[str], measure: Callable[[PairMeasures], float | None]
) -> tuple[list[float | None], ...]:
    found = dict(zip(_pair_labels(letters), map(measure, pairs), strict=True))
    return tuple([found.get(f"{a}/{b}", found.get(f"{b}/{a}")) for b in letters] for a in letters)


def _side_by_side(groups: Iterable[_Columns], width: int) -> Iterator[list[_Columns]]:
    """The groups in runs that fit the width; a group that is wider is cut."""
    run: list[_Columns] = []
    for part in chain.from_iterable(group.cut(width) for group in groups):
        if run and sum(each.width + GAP for each in (*run, part)) - GAP > width:
            yield run
            run = []
        run.append(part)
    if run:
        yield run


def _lines(names: Sequence[str], groups: Sequence[_Columns], lead: int, total: bool = True) -> Iterator[Text]:
    """One line for each row, below two of headers; the last row may be the total of the others."""
    gap = " " * GAP
    for head in zip(*(group.heads() for group in groups), strict=True):
        yield Text(" " * lead) + Text(gap).join(head)
    for row, name in enumerate(names):
        cells = Text(gap).join(group.cells(row) for group in groups)
        yield Text(name.ljust(lead), style="bold" if total and row == len(names) - 1 else "") + cells


def _pair_labels(letters: Sequence[str]) -> list[str]:
    return [f"{a}/{b}" for at, a in enumerate(letters) for b in letters[at + 1 :]]


def _folded(values: Sequence[float | None]) -> list[float | None]:
    """Least, mean and most of those that are known."""
    known = [value for value in values if value is not None]
    return [min(known), sum(known) / len(known), max(known)] if known else [None] * 3


def _full_ranks(
    ranks: Sequence[Sequence[float | None]], shares: Sequence[Sequence[float | None]]
) -> list[float]:
    """The ranks that shares of 1 would mean, least first."""
    pairs = zip(chain.from_iterable(ranks), chain.from_iterable(shares), strict=True)
    return sorted(rank / share for rank, share in pairs if rank is not None and share)


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
