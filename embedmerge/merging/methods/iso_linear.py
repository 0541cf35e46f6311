"""Task vectors with each one's singular values made more equal, added up."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from embedmerge.merging.part import Part, weighted_sum
from embedmerge.merging.spec import MethodSpec, Parameter
from embedmerge.merging.spectral import thin_svd

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float32 = NDArray[np.float32]


def combine(part: Part, *, evenness: float) -> Float32:
    """`τ = Σ pᵢ evened(τᵢ)`: Iso-C's levelling (arXiv 2502.04959) of each expert by itself.

    Iso-C levels the sum of the task vectors, so what one expert counts for bends all directions. Here every
    expert is levelled before it is weighed: the mixture is a weighted sum of what each source gives alone,
    and weights are chosen for it as for `linear`.
    """
    levelled = [_levelled(tau, evenness) for tau in part.task_vectors]
    return weighted_sum(levelled, part.shares)


def _levelled(matrix: Float32, evenness: float) -> Float32:
    """`U diag(s) Vᵀ` becomes `c U diag(s^(1 - evenness)) Vᵀ`, with `c` such that the Frobenius norm stays."""
    if evenness == 0 or not matrix.any():
        return matrix
    u, s, v = thin_svd(matrix)
    powers = (s / s[0]) ** (1 - evenness)
    powers *= np.linalg.norm(s) / np.linalg.norm(powers)
    levelled: Float32 = ((u * powers) @ v.T).astype(np.float32)
    return levelled


SPEC = MethodSpec(
    name="iso_linear",
    combine=combine,
    summary="each task vector's singular values made equal in every matrix, then added up",
    citation="after Marczak et al. 2025, arXiv 2502.04959",
    cut="tensor",
    matrices=True,
    affine=True,
    parameters={
        "evenness": Parameter(1.0, "1 makes singular values equal, 0 leaves them as they are", 0, 1),
    },
)
