"""The trimming half of TIES: the largest changes are kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from embedmerge.merging.survey import KthLargest, share

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from embedmerge.merging.part import Part

    Float32 = NDArray[np.float32]


def magnitudes(part: Part) -> list[Float32]:
    """`|τᵢ|` of every expert."""
    return [np.abs(task_vector) for task_vector in part.task_vectors]


def largest(densities: Sequence[float]) -> KthLargest:
    """A survey for the magnitude that a share of each task vector's elements reaches, a share for each."""
    return KthLargest(magnitudes, [share(density) for density in densities])


def trimmed(part: Part, thresholds: Iterable[np.float32]) -> list[Float32]:
    """`τ̂ᵢ`: the task vectors, 0 where they are below their thresholds."""
    kept = zip(part.task_vectors, magnitudes(part), thresholds, strict=True)
    return [tau * (magnitude >= threshold) for tau, magnitude, threshold in kept]
