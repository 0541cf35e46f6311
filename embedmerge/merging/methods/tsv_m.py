"""Task singular vectors, decorrelated between the experts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from embedmerge.merging.spec import MethodSpec
from embedmerge.merging.spectral import of_matrices, orthogonalised, thin_svd

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


@of_matrices
def combine(matrices: Sequence[NDArray[np.float32]]) -> NDArray[np.float64]:
    """TSV-Merge (arXiv 2412.00081, algorithm 1).

    Of each task matrix `Tᵢ = Uᵢ Σᵢ Vᵢᵀ` the first `⌊rank/n⌋` singular triplets are kept. All left vectors
    together are replaced by the nearest orthonormal ones, `U⊥`, all right vectors by `V⊥`, and
    `M = U⊥ Σ V⊥ᵀ`. One expert alone comes out as it is.
    """
    rank = max(min(matrices[0].shape) // len(matrices), 1)
    svds = [thin_svd(matrix, rank) for matrix in matrices]
    u = orthogonalised([svd.u for svd in svds])
    v = orthogonalised([svd.v for svd in svds])
    merged: NDArray[np.float64] = (u * np.concatenate([svd.s for svd in svds])) @ v.T
    return merged


SPEC = MethodSpec(
    name="tsv_m",
    combine=combine,
    summary="each expert's largest singular directions, made orthogonal to the others'",
    citation="Gargiulo et al. 2025, arXiv 2412.00081",
    cut="tensor",
    matrices=True,
)
