"""The matrix that interferes least with what each expert's own inputs see."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from embedmerge.merging.spec import MethodSpec, Parameter
from embedmerge.merging.spectral import of_matrices, thin_svd, top_eigen, total

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    Float32 = NDArray[np.float32]
    Float64 = NDArray[np.float64]


@of_matrices
def combine(matrices: Sequence[Float32], *, rank: float) -> Float64:
    """WUDI-Merging in closed form: M of the least `Σ ‖(M - Tᵢ) Tᵢᵀ‖²/‖Tᵢ‖²` (arXiv 2503.08099).

    The rows of Tᵢ stand for the inputs of the layer. With `C = Σ TᵢᵀTᵢ/‖Tᵢ‖² = V Λ Vᵀ` and
    `D = Σ Tᵢ TᵢᵀTᵢ/‖Tᵢ‖²` the gradient is 0 at `M = D C⁺ = D V Λ⁻¹ Vᵀ`, where the paper goes by 300 steps
    of Adam. Where only the largest eigenvalues are kept (`rank`, as SWUDI does), M is the mean of the Tᵢ
    in all other directions. One expert alone comes out as it is.
    """
    eigenvalues, v = input_directions(matrices, round(rank * matrices[0].shape[1]))
    mean = total(matrices) / len(matrices)
    # From right to left, so that what is small stays accurate.
    optimum = sum(
        matrix @ (unit.T @ (unit @ v)) for matrix, unit in zip(matrices, units(matrices), strict=True)
    )
    return mean + (optimum / eigenvalues - mean @ v) @ v.T


def units(matrices: Sequence[Float32]) -> Iterator[Float64]:
    """`Tᵢ/‖Tᵢ‖`, one after the other."""
    for matrix in matrices:
        unit = matrix.astype(np.float64)
        yield unit / np.linalg.norm(unit)


def input_directions(matrices: Sequence[Float32], rank: int) -> tuple[Float64, Float64]:
    """Largest eigenvalues of `C = Σ TᵢᵀTᵢ/‖Tᵢ‖²` and their eigenvectors, (in, k).

    C is the Gram matrix of the columns of all `Tᵢ/‖Tᵢ‖` on top of each other; where these have fewer rows
    than columns, the Gram matrix of the rows is the smaller one.
    """
    rows, columns = matrices[0].shape
    if len(matrices) * rows < columns:
        _, s, v = thin_svd(np.vstack(list(units(matrices))), rank)
        return s**2, v
    gram = np.zeros((columns, columns))
    for unit in units(matrices):
        gram += unit.T @ unit
    return top_eigen(gram, rank)


SPEC = MethodSpec(
    name="wudi",
    combine=combine,
    summary="the matrix that differs least from each expert's on that expert's own inputs",
    citation="Cheng et al. 2025, arXiv 2503.08099; closed form as in SWUDI",
    cut="tensor",
    matrices=True,
    parameters={
        "rank": Parameter(1.0, "share of the input directions that are solved for, the mean elsewhere", 0, 1)
    },
)
