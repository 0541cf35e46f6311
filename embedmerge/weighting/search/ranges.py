"""Parameters of a method that are searched, and between which numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from embedmerge.errors import EmbedmergeError, nearest
from embedmerge.merging.coefficients import Coefficients
from embedmerge.merging.registry import method as find_method
from embedmerge.merging.streaming import Arithmetic

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from embedmerge.merging.spec import MethodSpec
    from embedmerge.weighting.strategy import MethodChoice

MODIFIERS = {"scale": 1.0, "lines": 1.0, "lines_top": 1.0, "clamp": None}  # and where a search starts
DIGITS = 4  # of a range that are told apart


@dataclass(frozen=True)
class Range:
    """What a parameter may be.

    Attributes:
        low: Smallest value.
        high: Largest value.
        start: Where a search starts.
        whole: Whether it is a count.
    """

    low: float
    high: float
    start: float
    whole: bool = False

    def rounded(self, value: float) -> float:
        """The nearest value that a search tells apart from others.

        >>> Range(0.05, 0.95, 0.2).rounded(0.123456789), Range(1, 9, 2, whole=True).rounded(3.7)
        (0.12346, 4.0)
        """
        decimals = 0 if self.whole else DIGITS - math.floor(math.log10(self.high - self.low))
        return min(max(round(value, decimals), self.low), self.high)


def ranges_of(
    space: Mapping[str, tuple[float, float]], method: MethodChoice, names: Sequence[str]
) -> dict[str, Range]:
    """The ranges of a search, checked against the method.

    >>> from embedmerge.weighting.strategy import MethodChoice
    >>> ranges_of({"density": (0.1, 0.9)}, MethodChoice("ties"), ["base", "legal"])["density"].start
    0.2

    Args:
        space: Lowest and highest value by name, of parameters and modifiers.
        method: The method, with what is set besides.
        names: Names of the sources, base first.

    Raises:
        EmbedmergeError: The method has no such number, a range is empty or holds a value it must not have,
            or something that is set besides does not fit.
    """
    spec = find_method(method.name)
    ranges = {
        name: Range(low, high, _start(spec, method.parameters, name, low, high), _is_count(spec, name))
        for name, (low, high) in space.items()
    }
    for end in ("low", "high"):
        found = {name: getattr(each, end) for name, each in ranges.items()}
        Arithmetic.of(method.name, {**method.parameters, **found}, Coefficients.uniform(names))
    return ranges


def _start(spec: MethodSpec, given: Mapping[str, Any], name: str, low: float, high: float) -> float:
    """What is set besides, else the default; the middle where that is no number of the range."""
    numbers = [key for key, parameter in spec.parameters.items() if parameter.is_number]
    if name not in numbers and name not in MODIFIERS:
        hint = nearest(name, [*numbers, *MODIFIERS])
        raise EmbedmergeError(f"space: method {spec.name} has no number {name!r} to search; {hint}")
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        msg = f"space: {name}: {low:g} to {high:g} is no range; give the lowest value, then the highest"
        raise EmbedmergeError(msg)
    default = spec.parameters[name].default if name in numbers else MODIFIERS[name]
    start = given.get(name, default)
    if isinstance(start, list | dict):
        msg = (
            f"space: {name} is set tensor by tensor in the method's parameters; search it or set it, not both"
        )
        raise EmbedmergeError(msg)
    inside = isinstance(start, int | float) and low <= start <= high
    return float(start) if inside else (low + high) / 2


def _is_count(spec: MethodSpec, name: str) -> bool:
    return name in spec.parameters and isinstance(spec.parameters[name].default, int)
