"""Sums over the elements of tensors from which norms, cosines and sign agreement follow."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Float32 = NDArray[np.float32]
    Float64 = NDArray[np.float64]
    Bits = NDArray[np.uint8]


@dataclass(frozen=True)
class Moments:
    """What slices of the base and of n task vectors add up to.

    Attributes:
        elements: Number of elements.
        gram: (n + 1, n + 1), inner products of the base and the task vectors.
        moved: (n, n), number of elements that both task vectors moved.
        agreed: (n, n), number of those that both moved the same way.
        all_moved: Number of elements that every task vector moved.
        all_agreed: Number of those that all moved the same way.
    """

    elements: int
    gram: Float64
    moved: Float64
    agreed: Float64
    all_moved: int
    all_agreed: int

    @classmethod
    def of(cls, base: Float32, experts: Sequence[Float32]) -> Moments:
        """Of one flat slice of the base and of every expert."""
        task_vectors = [expert - base for expert in experts]
        rows = np.array([base, *task_vectors], dtype=np.float64)
        up = [np.packbits(vector > 0) for vector in task_vectors]
        down = [np.packbits(vector < 0) for vector in task_vectors]
        either = [above | below for above, below in zip(up, down, strict=True)]
        return cls(
            base.size,
            rows @ rows.T,
            _in_common(either),
            _in_common(up) + _in_common(down),
            _count(reduce(np.bitwise_and, either)),
            _count(reduce(np.bitwise_and, up)) + _count(reduce(np.bitwise_and, down)),
        )

    def __add__(self, other: Moments) -> Moments:
        return Moments(
            self.elements + other.elements,
            self.gram + other.gram,
            self.moved + other.moved,
            self.agreed + other.agreed,
            self.all_moved + other.all_moved,
            self.all_agreed + other.all_agreed,
        )

    def relative_norm(self, expert: int) -> float | None:
        """‖τ‖ / ‖θ0‖ of an expert, from 0; None where the base is zero."""
        return _ratio(math.sqrt(self.gram[expert + 1, expert + 1]), math.sqrt(self.gram[0, 0]))

    def cosine(self, first: int, second: int) -> float | None:
        """Cosine of two experts' task vectors; None where one has not moved."""
        rows = first + 1, second + 1
        return _ratio(self.gram[rows], math.sqrt(self.gram[rows[0], rows[0]] * self.gram[rows[1], rows[1]]))

    def sign_agreement(self, first: int, second: int) -> float | None:
        """Share of the elements that both experts moved which they moved the same way."""
        return _ratio(self.agreed[first, second], self.moved[first, second])

    @property
    def all_agree(self) -> float | None:
        """Share of the elements that all experts moved which all moved the same way."""
        return _ratio(self.all_agreed, self.all_moved)

    def with_base(self, expert: int) -> tuple[float, float, float]:
        """⟨θ0, θ⟩, ‖θ0‖² and ‖θ‖² of an expert's weights θ."""
        own, along, moved = self.gram[0, 0], self.gram[0, expert + 1], self.gram[expert + 1, expert + 1]
        return float(own + along), float(own), max(float(own + 2 * along + moved), 0.0)


def likeness(product: float, first: float, second: float) -> float:
    """How nearly two tensors are the same, in direction and in length: 2⟨a, b⟩ / (‖a‖² + ‖b‖²).

    1 for equal tensors, 0 for orthogonal ones, and 1 / (1 + r²/2) where noise r times as long as a was
    added to a (coefficient of identity, Zegers and ten Berge 1985, Psychometrika 50).

    >>> likeness(2.0, 1.0, 4.0)
    0.8

    Args:
        product: Their inner product.
        first: Squared norm of one.
        second: Squared norm of the other.
    """
    return 2 * product / (first + second) if first + second else 1.0


def _in_common(marked: Sequence[Bits]) -> Float64:
    """(n, n), how many elements are marked in both."""
    count = len(marked)
    common = np.empty((count, count))
    for row in range(count):
        for column in range(row + 1):
            common[row, column] = common[column, row] = _count(marked[row] & marked[column])
    return common


def _count(bits: Bits) -> int:
    return int(np.bitwise_count(bits).sum(dtype=np.int64))


def _ratio(part: float, whole: float) -> float | None:
    return float(part / whole) if whole else None
