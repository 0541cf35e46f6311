"""Sum of task vectors with all singular values made equal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from embedmerge.merging.spec import MethodSpec
from embedmerge.merging.spectral import of_matrices, thin_svd, total

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray


@of_matrices
def combine(matrices: Sequence[NDArray[np.float32]]) -> NDArray[np.float64]:
    """Iso-C: `Σ Tᵢ = U Σ Vᵀ` becomes `M = mean(Σ) U Vᵀ` (arXiv 2502.04959).

    The mean is over all `min(out, in)` singular values, those that are 0 among them; null directions of the
    sum, for which any U and V would do, stay null. One expert alone does not come out as it is: its
    singular values too are made equal, small and noisy ones as large as the others.
    """
    u, s, v = thin_svd(total(matrices))
    mean = float(s.sum()) / min(matrices[0].shape)
    merged: NDArray[np.float64] = mean * u @ v.T
    return merged


SPEC = MethodSpec(
    name="iso_c",
    combine=combine,
    summary="sum of task vectors with all singular values of a matrix made equal",
    citation="Marczak et al. 2025, arXiv 2502.04959",
    cut="tensor",
    matrices=True,
)
