"""One expert after the other, each in what the merged ones leave free."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from embedmerge.merging.spec import MethodSpec, Parameter
from embedmerge.merging.spectral import Svd, of_matrices, thin_svd

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Float32 = NDArray[np.float32]
    Float64 = NDArray[np.float64]


@of_matrices
def combine(matrices: Sequence[Float32], *, alpha: float) -> Float64:
    """OPCM, the orthogonal projection of task vectors in turn (arXiv 2501.09522).

    From the first expert on, `Δ ← Δ + P(Tₜ)`, where P takes what `Tₜ` has in Δ's main singular directions
    and along each of the others out of it. The merged matrix is rescaled to the mean `‖Tᵢ‖` of its experts.
    The paper rescales after every expert and undoes it before the next, which comes to the same; and it
    takes the norms over the whole model, not, as here, over each matrix. The order of the experts
    matters. One expert alone comes out as it is.
    """
    first, *later = matrices
    merged = first.astype(np.float64)
    for matrix in later:
        merged += beside(thin_svd(merged), matrix, alpha)
    norms = [float(np.linalg.norm(matrix.astype(np.float64))) for matrix in matrices]
    return merged * (sum(norms) / len(norms) / float(np.linalg.norm(merged)))


def beside(merged: Svd, matrix: Float32, alpha: float) -> Float64:
    """`P(T)`: T without the leading block and the diagonal of `Uᵀ T V`.

    Of the merged matrix's singular values those belong to the block that come to at most the share alpha
    of their sum. Its null directions take nothing away.
    """
    u, s, v = merged
    reached = np.cumsum(s)
    leading = int(np.count_nonzero(reached <= alpha * reached[-1]))
    projected = u.T @ matrix @ v
    taken = np.diag(np.diag(projected))
    taken[:leading, :leading] = projected[:leading, :leading]
    return matrix - u @ taken @ v.T


SPEC = MethodSpec(
    name="opcm",
    combine=combine,
    summary="expert after expert, each without what it has in the main directions of those before",
    citation="Tang et al. 2025, arXiv 2501.09522",
    cut="tensor",
    matrices=True,
    parameters={
        "alpha": Parameter(0.5, "share of the singular values' sum that the protected directions have", 0, 1)
    },
    ordered=True,
)
