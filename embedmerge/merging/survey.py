"""What must be known of a whole tensor, or of the whole model, before a slice of it can be merged.

A survey looks at every slice in turn, as often as it needs to, and holds no more than a summary:
so a threshold over all of a model's elements is found without ever holding a model.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from embedmerge.merging.part import Part

    Float32 = NDArray[np.float32]
    Counts = tuple[NDArray[np.int64], NDArray[np.int64]]  # bins, and how many elements are in each

Scope = Literal["tensor", "model"]
Ranks = Callable[[int], tuple[int, ...]]  # wanted ones, told from the number of elements

HALF = 16  # bits of a float32's place in the order; the upper half is counted first, then the lower
BINS = 1 << HALF
SIGN = np.uint32(1 << 31)


class Survey(Protocol):
    """Passes over the slices of one tensor, or of all of them.

    Attributes:
        passes: How often it looks at every slice.
    """

    passes: int

    def look(self, part: Part) -> Any:
        """What one slice shows. Called from several threads, so it changes nothing."""

    def add(self, seen: Any) -> None:
        """Take up what a slice has shown; called in the order of the slices."""

    def finish_pass(self) -> bool:
        """End a pass over all slices; True where another one is needed."""

    @property
    def facts(self) -> Any:
        """What was found, for `Part.facts`; asked for after the last pass."""


class Sums:
    """Sums over all elements.

    `facts` is an array of the shape that `of` gives.

    Args:
        of: Sums over a part, in float64.
    """

    def __init__(self, of: Callable[[Part], NDArray[np.float64]]) -> None:
        self.passes = 1
        self._of = of
        self._total: Any = 0.0

    def look(self, part: Part) -> NDArray[np.float64]:
        """Sums over a slice."""
        return self._of(part)

    def add(self, seen: NDArray[np.float64]) -> None:
        """Add them up."""
        self._total = self._total + seen

    def finish_pass(self) -> bool:
        """One pass is all."""
        return False

    @property
    def facts(self) -> NDArray[np.float64]:
        """The sums."""
        return np.asarray(self._total)


class Gram(Sums):
    """Inner products of the sources, or of the task vectors, in float64.

    `facts` is an (n, n) array.

    Args:
        of: Which tensors of a part.
    """

    def __init__(self, of: Callable[[Part], Sequence[Float32]]) -> None:
        def inner_products(part: Part) -> NDArray[np.float64]:
            rows = np.stack([tensor.reshape(-1).astype(np.float64) for tensor in of(part)])
            return np.asarray(rows @ rows.T)

        super().__init__(inner_products)


class KthLargest:
    """The k-th largest of the elements, exactly, in two passes over their bits.

    The bits of a float32, some of them turned over, are ordered as the numbers are. The first pass
    counts the upper half of these bits; the second counts the lower half of those elements whose upper
    half is the wanted one.

    `facts` is a float32 array, a row per tensor that `of` gives and a column per rank: k elements are at
    or above a threshold, more where several equal it; it is infinite for k = 0.

    Args:
        of: float32 tensors of a part, the same number for each.
        ranks: The ranks k that are wanted, told from the number of elements: of all tensors alike, or
            for each tensor its own, the same number of them.
    """

    def __init__(self, of: Callable[[Part], Sequence[Float32]], ranks: Ranks | Sequence[Ranks]) -> None:
        self.passes = 2
        self._of = of
        self._ranks = ranks
        self._counts: NDArray[np.int64] | None = None
        self._wanted: list[list[tuple[int, int]]] | None = None
        self._thresholds: list[list[float]] = []

    def look(self, part: Part) -> list[list[Counts]]:
        """Counts of the bits of a slice, tensor by tensor; in the second pass for each rank of a tensor."""
        seen = []
        for row, tensor in enumerate(self._of(part)):
            upper, lower = _halves(tensor)
            if self._wanted is None:
                seen.append([_counts(upper)])
            else:
                seen.append([_counts(lower[upper == place]) for place, _ in self._wanted[row]])
        return seen

    def add(self, seen: list[list[Counts]]) -> None:
        """Add the counts."""
        if self._counts is None:
            self._counts = np.zeros((len(seen), len(seen[0]), BINS), np.int64)
        for row, tensor in enumerate(seen):
            for rank, (bins, counts) in enumerate(tensor):
                self._counts[row, rank, bins] += counts

    def finish_pass(self) -> bool:
        """The first pass finds the upper half and the rank below it, the second the lower half."""
        if self._counts is None:  # nothing was there to look at
            return False
        counts, self._counts = self._counts, None
        if self._wanted is None:
            each = self._ranks if isinstance(self._ranks, Sequence) else [self._ranks] * len(counts)
            self._wanted = [
                [_place(count, k) for k in ranks(int(count.sum()))]
                for (count,), ranks in zip(counts, each, strict=True)
            ]
            return True
        self._thresholds = [
            [_threshold(upper, count, k) for count, (upper, k) in zip(lower, wanted, strict=True)]
            for lower, wanted in zip(counts, self._wanted, strict=True)
        ]
        return False

    @property
    def facts(self) -> Float32:
        """The thresholds."""
        return np.array(self._thresholds, dtype=np.float32)


class Chain:
    """One survey, and then another that needs what the first has found.

    `facts` is the pair of what they have found.

    Args:
        first: The first survey.
        then: Makes the second from the first's facts.
        passes: How often both together look at every slice.
    """

    def __init__(self, first: Survey, then: Callable[[Any], Survey], passes: int) -> None:
        self.passes = passes
        self._first = first
        self._then = then
        self._second: Survey | None = None

    def look(self, part: Part) -> Any:
        """What the survey that is on sees."""
        return self._on.look(part)

    def add(self, seen: Any) -> None:
        """Hand it to the survey that is on."""
        self._on.add(seen)

    def finish_pass(self) -> bool:
        """Go over to the second survey when the first has ended."""
        again = self._on.finish_pass()
        if self._second is not None or again:
            return again
        self._second = self._then(self._first.facts)
        return True

    @property
    def facts(self) -> tuple[Any, Any]:
        """What the first has found, and the second."""
        assert self._second is not None
        return self._first.facts, self._second.facts

    @property
    def _on(self) -> Survey:
        return self._first if self._second is None else self._second


def share(kept: float) -> Callable[[int], tuple[int]]:
    """For `KthLargest`: the rank of the last element of a share that is kept.

    >>> share(0.1)(30), share(0.1)(31)
    ((3,), (4,))

    Args:
        kept: The share, in [0, 1]; the number of elements is rounded up.
    """
    return lambda elements: (elements_kept(kept, elements),)


def elements_kept(kept: float, elements: int) -> int:
    """How many elements a share is, rounded up."""
    # 0.1 of 30 must be 3 although 0.1 * 30 is a little more.
    return min(elements, math.ceil(round(kept * elements, 6)))


def _halves(tensor: Float32) -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
    """The upper and the lower half of the elements' places in the order of all float32 numbers."""
    values = np.ascontiguousarray(tensor, dtype="<f4").reshape(-1)
    bits = values.view("<u4")
    # A negative number is the larger the smaller its bits; its sign bit is spread over all of them here.
    order = bits ^ ((values.view("<i4") >> 31).view("<u4") | SIGN)
    halves = order.view("<u2")
    return halves[1::2], halves[::2]


def _counts(half: NDArray[np.uint16]) -> Counts:
    """The bins that are not empty, few of them all, and what is in them."""
    counts = np.bincount(half)
    bins = np.flatnonzero(counts)
    return bins, counts[bins]


def _place(counts: NDArray[np.int64], rank: int) -> tuple[int, int]:
    """The bin in which the element of this rank lies, and its rank within that bin."""
    above = np.cumsum(counts[::-1])
    place = int(np.searchsorted(above, max(rank, 1)))
    return len(counts) - 1 - place, rank - int(above[place - 1]) if place and rank else rank


def _threshold(upper: int, counts: NDArray[np.int64], rank: int) -> float:
    if rank == 0:
        return math.inf
    order = np.array([(upper << HALF) | _place(counts, rank)[0]], dtype=np.uint32)
    bits = order ^ SIGN if order[0] & SIGN else ~order
    return float(bits.view(np.float32)[0])
