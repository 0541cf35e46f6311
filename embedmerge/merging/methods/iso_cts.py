"""Equal singular values in directions that the experts share and in those that each has alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from embedmerge.merging.spec import MethodSpec, Parameter
from embedmerge.merging.spectral import NULL, Svd, of_matrices, orthogonalised, thin_svd, total

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Float64 = NDArray[np.float64]


@of_matrices
def combine(matrices: Sequence[NDArray[np.float32]], *, common: float) -> Float64:
    """Iso-CTS (arXiv 2502.04959).

    The first `k` singular directions of `Σ Tᵢ` are common, k being the share `common` of all r, rounded so
    that the rest divides by n. Each expert adds the first `(r - k)/n` of `Tᵢ - U꜀ U꜀ᵀ Tᵢ`. All left vectors
    together, and all right ones, are replaced by the nearest orthonormal ones, and all singular values by
    their mean: `M = mean(Σ) U⊥ V⊥ᵀ`. Null directions stay null. With `common` = 1 it is Iso-C, and so it is
    for one expert alone.
    """
    rank, n = min(matrices[0].shape), len(matrices)
    left = rank - int(round(rank * common, 6))
    own = min(round(left / n), rank // n)
    shared = thin_svd(total(matrices), rank - n * own)
    svds = [shared, *(thin_svd_beside(shared.u, matrix, own) for matrix in matrices)]
    u = orthogonalised([svd.u for svd in svds])
    v = orthogonalised([svd.v for svd in svds])
    mean = sum(float(svd.s.sum()) for svd in svds) / rank
    merged: Float64 = mean * u @ v.T
    return merged


def thin_svd_beside(basis: Float64, matrix: NDArray[np.float32], rank: int) -> Svd:
    """First singular triplets of what a matrix has outside the span of some left vectors."""
    beside = matrix - basis @ (basis.T @ matrix)
    return thin_svd(beside, rank, floor=NULL * float(np.linalg.norm(matrix)))


SPEC = MethodSpec(
    name="iso_cts",
    combine=combine,
    summary="equal singular values in directions common to the experts and in each expert's own",
    citation="Marczak et al. 2025, arXiv 2502.04959",
    cut="tensor",
    matrices=True,
    parameters={
        "common": Parameter(0.8, "share of a matrix's directions taken from the sum of the experts", 0, 1)
    },
)
