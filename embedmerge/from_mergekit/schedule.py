"""A number as mergekit's YAML writes it: one, a gradient over the depth, or either by a part of the name."""

from __future__ import annotations

import glob
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from embedmerge.errors import EmbedmergeError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from embedmerge.merging.settings import Setting

    Gradient = tuple[float, ...]
    Case = tuple[str | None, Gradient]

ALL_BLOCKS = "blocks 0-999"
EVERY_TENSOR = (None, "*")  # filters that leave nothing out
VANISHING = 1e-8  # sum of weights that mergekit does not divide by


@dataclass(frozen=True)
class Schedule:
    """A number that may differ from tensor to tensor; the first case that fits counts.

    Attributes:
        cases: Text that a tensor's name must contain, None for any name, and the numbers that are spread
            over the depth there, a single one where it is the same everywhere.
    """

    cases: tuple[Case, ...]

    @classmethod
    def parse(cls, value: Any, where: str) -> Schedule:
        """A parameter as it stands in the file.

        >>> Schedule.parse([{"filter": "attention", "value": [0, 1]}, {"value": 0.5}], "weight").cases
        (('attention', (0.0, 1.0)), (None, (0.5,)))

        Raises:
            EmbedmergeError: Anything but finite numbers, lists of them, and `filter` and `value` pairs.
        """
        conditional = [value] if isinstance(value, dict) else value
        if isinstance(conditional, list) and any(isinstance(case, dict) for case in conditional):
            return cls(tuple(_case(case, f"{where}[{row}]") for row, case in enumerate(conditional)))
        return cls(((None, _gradient(value, where)),))

    @classmethod
    def constant(cls, number: float) -> Schedule:
        """The same number everywhere."""
        return cls(((None, (number,)),))

    def otherwise(self, other: Schedule) -> Schedule:
        """What holds where this one leaves tensors out is the other's."""
        return self if self.is_complete else Schedule((*self.cases, *other.cases))

    @property
    def is_complete(self) -> bool:
        """Whether it says a number for every tensor."""
        return any(text is None for text, _ in self.cases)

    @property
    def numbers(self) -> Gradient:
        """All numbers that stand in it."""
        return tuple(number for _, gradient in self.cases for number in gradient)

    @property
    def may_vanish(self) -> bool:
        """Whether it comes to 0 somewhere."""
        return any(min(gradient) <= 0 <= max(gradient) for _, gradient in self.cases)

    @property
    def filters(self) -> tuple[str, ...]:
        """The texts it looks for in names, in order."""
        return tuple(text for text, _ in self._reached if text is not None)

    @property
    def setting(self) -> Setting:
        """As our recipes write it.

        mergekit takes the first number of a gradient for all that is no block, and so for a pooler too;
        a list of ours has its last number there, so that the blocks are told apart from the rest.
        """
        selected: dict[str, float | list[float]] = {}
        for text, gradient in self._reached:
            name = "*" if text is None else f"*{glob.escape(text)}*"
            if len(gradient) > 1 and name not in selected:
                selected[f"{ALL_BLOCKS} {name}".removesuffix(" *")] = list(gradient)
            selected.setdefault(name, gradient[0])
        return selected if list(selected) != ["*"] else selected["*"]

    def times(self, factor: float) -> Schedule:
        """Every number times a factor."""
        cases = ((text, tuple(factor * number for number in gradient)) for text, gradient in self.cases)
        return Schedule(tuple(cases))

    @property
    def _reached(self) -> tuple[Case, ...]:
        """The cases up to the first one for all names."""
        last = next((row for row, (text, _) in enumerate(self.cases) if text is None), len(self.cases))
        return self.cases[: last + 1]

    def _under(self, text: str | None) -> Gradient:
        """The numbers under a filter that all schedules have, or under none of them."""
        return next(gradient for own, gradient in self.cases if own in (text, None))


def normalised(schedules: Sequence[Schedule], blocks: Callable[[], int], where: str) -> list[Schedule]:
    """Each divided by their sum, tensor by tensor; left as they are where the sum vanishes.

    Args:
        schedules: Complete ones, one for each model.
        blocks: Gives the number of transformer blocks; asked where a sum changes over the depth.
        where: What an error names.

    Raises:
        EmbedmergeError: Two of them have filters, and not the same.
    """
    return _case_by_case(schedules, lambda gradients: _divided(gradients, blocks), where)


def pointwise(
    schedules: Sequence[Schedule],
    function: Callable[[Sequence[float]], float],
    blocks: Callable[[], int],
    where: str,
) -> Schedule:
    """One number of several, tensor by tensor.

    Args:
        schedules: Complete ones.
        function: Takes their numbers.
        blocks: Gives the number of transformer blocks; asked where a number changes over the depth.
        where: What an error names.

    Raises:
        EmbedmergeError: Two of them have filters, and not the same.
    """

    def computed(gradients: Sequence[Gradient]) -> list[Gradient]:
        varying = any(len(gradient) > 1 for gradient in gradients)
        grid = _at_blocks(gradients, blocks) if varying else gradients
        return [_shortest(tuple(function(numbers) for numbers in zip(*grid, strict=True)))]

    return _case_by_case(schedules, computed, where)[0]


def sums(schedules: Sequence[Schedule], where: str) -> Gradient:
    """Every number that the sum comes to, the ends of a straight line for what lies between.

    Raises:
        EmbedmergeError: Two of them have filters, and not the same.
    """
    grids = (
        _on_one_grid([one._under(text) for one in schedules])
        for text in (*_common_filters(schedules, where), None)
    )
    return tuple(total for grid in grids for total in _sums(grid))


def _case(case: Any, where: str) -> Case:
    if not isinstance(case, dict) or "value" not in case or case.keys() - {"filter", "value"}:
        raise EmbedmergeError(f"{where}: {case!r} must be a `value` and, where it is for some, a `filter`")
    text = case.get("filter")
    if text is not None and not isinstance(text, str):
        raise EmbedmergeError(f"{where}.filter: {text!r} must be text that names of tensors contain")
    return None if text in EVERY_TENSOR else text, _gradient(case["value"], f"{where}.value")


def _gradient(value: Any, where: str) -> Gradient:
    gradient = tuple(as_number(each, where) for each in (value if isinstance(value, list) else [value]))
    if not gradient:
        raise EmbedmergeError(f"{where}: the list is empty; give it numbers over the depth")
    return _shortest(gradient)


def as_number(value: Any, where: str) -> float:
    """One number as it stands in the file.

    Raises:
        EmbedmergeError: It is none, or not finite.
    """
    try:
        number = math.nan if isinstance(value, bool) else float(value)  # YAML reads 1e-3 as text
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise EmbedmergeError(f"{where}: {value!r} is no finite number")
    return number


def _shortest(gradient: Gradient) -> Gradient:
    return gradient[:1] if len(set(gradient)) == 1 else gradient


def _case_by_case(
    schedules: Sequence[Schedule], function: Callable[[Sequence[Gradient]], list[Gradient]], where: str
) -> list[Schedule]:
    """What a function makes of all schedules' gradients, under each of their filters and under none."""
    texts = (*_common_filters(schedules, where), None)
    columns = [function([one._under(text) for one in schedules]) for text in texts]
    return [Schedule(tuple(zip(texts, made, strict=True))) for made in zip(*columns, strict=True)]


def _common_filters(schedules: Sequence[Schedule], where: str) -> tuple[str, ...]:
    found = {one.filters: None for one in schedules if one.filters}
    if len(found) > 1:
        msg = (
            f"{where}: there are different filters, which cannot be taken together; "
            "give all models the same filters in the same order"
        )
        raise EmbedmergeError(msg)
    return next(iter(found), ())


def _on_one_grid(gradients: Sequence[Gradient]) -> list[Gradient]:
    """The same numbers at the same depths, where a straight line is told by its ends."""
    if all(len(gradient) == 1 for gradient in gradients):
        return list(gradients)
    points = math.lcm(*(max(len(gradient) - 1, 1) for gradient in gradients)) + 1
    return [_sampled(gradient, points) for gradient in gradients]


def _divided(gradients: Sequence[Gradient], blocks: Callable[[], int]) -> list[Gradient]:
    """Gradients divided by their sum: as they are where it is constant, else at the depth of each block."""
    total = _sums(_on_one_grid(gradients))
    if all(math.isclose(each, total[0], abs_tol=VANISHING) for each in total):
        return [tuple(number / _divisor(total[0]) for number in gradient) for gradient in gradients]
    grid = _at_blocks(gradients, blocks)
    divisors = [_divisor(each) for each in _sums(grid)]
    quotients = (tuple(a / b for a, b in zip(gradient, divisors, strict=True)) for gradient in grid)
    return [_shortest(gradient) for gradient in quotients]


def _at_blocks(gradients: Sequence[Gradient], blocks: Callable[[], int]) -> list[Gradient]:
    points = max(blocks(), 2)  # a single block has the last number, and what is none the first
    return [_sampled(gradient, points) for gradient in gradients]


def _sums(grid: Sequence[Gradient]) -> list[float]:
    return [math.fsum(numbers) for numbers in zip(*grid, strict=True)]


def _divisor(total: float) -> float:
    return total if abs(total) >= VANISHING else 1.0


def _sampled(gradient: Gradient, points: int) -> Gradient:
    """Numbers at evenly spread depths, from 0 to 1."""
    places = [row * (len(gradient) - 1) / (points - 1) for row in range(points)]
    lows = [min(int(place), max(len(gradient) - 2, 0)) for place in places]
    ends = [(gradient[low], gradient[min(low + 1, len(gradient) - 1)]) for low in lows]
    return tuple(
        first + (place - low) * (last - first)
        for place, low, (first, last) in zip(places, lows, ends, strict=True)
    )
