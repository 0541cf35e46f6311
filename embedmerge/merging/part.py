"""What a method is handed: one tensor of every source, or the same slice of it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from embedmerge.merging.anatomy import Site

    Float32 = NDArray[np.float32]

PHILOX_WORDS = 4  # 64-bit words that one step of the Philox counter gives


@dataclass(frozen=True)
class Part:
    """A tensor of every source, or the same slice of it, with what each source counts for.

    A slice is flat; where the method asks for rows it is (rows, columns), where it asks for the whole
    tensor it has the tensor's shape.

    Attributes:
        site: The tensor's place in the model.
        sources: Values of every source, base first.
        weights: What each source counts for, base first; their sum is 1.
        start: Place of the first element in the flat tensor.
        names: Names of the sources, base first.
        facts: What the method's survey has found, None where it has none.
        statistics: Statistics of every source for this tensor, or for this slice of it, empty for one
            that counts for nothing; None where the method needs none or a source has none.
    """

    site: Site
    sources: tuple[Float32, ...]
    weights: tuple[float, ...]
    start: int = 0
    names: tuple[str, ...] = ()
    facts: Any = None
    statistics: tuple[Float32, ...] | None = field(default=None, repr=False)

    @property
    def base(self) -> Float32:
        """Values of the base."""
        return self.sources[0]

    @cached_property
    def task_vectors(self) -> tuple[Float32, ...]:
        """Expert minus base, one per expert."""
        return tuple(expert - self.base for expert in self.sources[1:])

    @property
    def scale(self) -> float:
        """λ: how far the merged task vector is gone, the sum of what the experts count for."""
        return float(sum(abs(weight) for weight in self.weights[1:]))

    @property
    def shares(self) -> tuple[float, ...]:
        """What each expert counts for among the experts; their absolute values have sum 1."""
        scale = self.scale
        experts = self.weights[1:]
        return tuple(weight / scale for weight in experts) if scale else (1 / len(experts),) * len(experts)

    @property
    def factors(self) -> tuple[float, ...]:
        """The shares as factors of a sum over the experts: all 1 where all experts count alike.

        An expert that counts for nothing leaves the factors of the others as they would be without it.
        """
        counting = sum(share != 0 for share in self.shares)
        return tuple(share * counting for share in self.shares)

    def uniform(self, expert: int, seed: int, purpose: str = "") -> NDArray[np.float64]:
        """Numbers in [0, 1), one per element.

        They depend on the seed, the expert's name and the element's place alone, not on how the tensor
        was cut into slices or in which order the experts came.

        Args:
            expert: Which expert, from 0.
            seed: Chosen by the user, recorded.
            purpose: Tells independent draws of one method apart.
        """
        who = self.names[expert + 1] if self.names else str(expert)
        digest = hashlib.sha256(f"{seed}\0{purpose}\0{who}\0{self.site.name}".encode()).digest()
        bits = np.random.Philox(key=int.from_bytes(digest[:16], "little"))
        skipped = self.start % PHILOX_WORDS
        bits.advance(self.start // PHILOX_WORDS)
        drawn = np.random.Generator(bits).random(skipped + self.base.size)
        return drawn[skipped:].reshape(self.base.shape)


def weighted_sum(tensors: Sequence[Float32], weights: Sequence[ArrayLike]) -> Float32:
    """Sum of `weights[i] * tensors[i]`, accumulated in float32 in the order given.

    A weight is one number, or a column of one for each row. A tensor that counts for 1 among others that
    count for 0 comes out bit for bit.

    >>> weighted_sum([np.zeros(2, np.float32), np.ones(2, np.float32)], [0.75, 0.25])
    array([0.25, 0.25], dtype=float32)
    """
    counting = [
        (tensor, np.asarray(weight, np.float32))
        for tensor, weight in zip(tensors, weights, strict=True)
        if np.any(weight)
    ]
    if not counting:
        return np.zeros_like(tensors[0], dtype=np.float32)
    total = np.multiply(*counting[0], dtype=np.float32)
    for tensor, weight in counting[1:]:
        total += weight * tensor
    return total
