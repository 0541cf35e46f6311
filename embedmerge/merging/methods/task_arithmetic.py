"""Sum of task vectors added to the base."""

from __future__ import annotations

from typing import TYPE_CHECKING

from embedmerge.merging.part import Part, weighted_sum
from embedmerge.merging.spec import MethodSpec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Float32 = NDArray[np.float32]


def combine(part: Part) -> Float32:
    """`τ = Σ pᵢ τᵢ`, so that `θ = θ₀ + λ Σ pᵢ τᵢ = θ₀ + Σ wᵢ τᵢ` (arXiv 2212.04089, eq. 2)."""
    return weighted_sum(part.task_vectors, part.shares)


SPEC = MethodSpec(
    name="task_arithmetic",
    combine=combine,
    summary="task vectors, each times its weight, added to the base",
    citation="Ilharco et al. 2023, arXiv 2212.04089",
    affine=True,
)
