"""Elements of the task vectors dropped at random, and the others made larger for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from embedmerge.merging.spec import Parameter
from embedmerge.merging.survey import Sums

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from embedmerge.merging.part import Part

    Float32 = NDArray[np.float32]
    Probability = Float32 | np.float32

SEED = Parameter(0, "number that the random choice follows from", 0, whole=True)
RESCALE = Parameter(
    "inverse",
    "what makes up for the dropped: 1 / probability of being kept, the tensor's L1 norm, or nothing",
    choices=("inverse", "l1", "none"),
)


def survey(keep: Callable[[Part], Sequence[Probability]], seed: float, rescale: str) -> Sums | None:
    """L1 norms of the task vectors (first row) and of what is kept of them, where they are needed.

    Args:
        keep: Gives each expert's probabilities of being kept, for the elements of a part.
        seed: Chosen by the user.
        rescale: One of the choices of `RESCALE`.
    """

    def norms(part: Part) -> NDArray[np.float64]:
        both = (part.task_vectors, _survivors(part, keep(part), seed))
        return np.array([[np.abs(one).sum(dtype=np.float64) for one in tensors] for tensors in both])

    return Sums(norms) if rescale == "l1" else None


def dropped(part: Part, keep: Sequence[Probability], seed: float, rescale: str) -> list[Float32]:
    """The task vectors after dropping: `mᵢ ⊙ τᵢ / kᵢ`, mᵢ being 1 with probability kᵢ, else 0.

    The expectation over the seeds is τᵢ. With `l1` the divisor is `‖mᵢ ⊙ τᵢ‖₁ / ‖τᵢ‖₁` instead, over the
    tensor.

    Args:
        part: Its facts are those of `survey`.
        keep: Each expert's probabilities of being kept, of the part's shape or one for all elements.
        seed: Chosen by the user.
        rescale: One of the choices of `RESCALE`.
    """
    survivors = _survivors(part, keep, seed)
    if rescale == "none":
        return survivors
    divisors = keep if rescale == "inverse" else _norm_ratios(part.facts)
    return [
        np.divide(tau, np.where(divisor > 0, divisor, 1), dtype=np.float32)
        for tau, divisor in zip(survivors, divisors, strict=True)
    ]


def _survivors(part: Part, keep: Sequence[Probability], seed: float) -> list[Float32]:
    drawn = (part.uniform(expert, int(seed)) for expert in range(len(keep)))
    return [
        tau * (number < probability)
        for tau, number, probability in zip(part.task_vectors, drawn, keep, strict=True)
    ]


def _norm_ratios(norms: NDArray[np.float64]) -> list[np.float32]:
    before, after = norms
    return list(np.divide(after, before, out=np.ones_like(after), where=before > 0).astype(np.float32))
