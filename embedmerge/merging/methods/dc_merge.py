"""Experts merged as coordinates in a basis that covers all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from embedmerge.merging.spec import MethodSpec, Parameter
from embedmerge.merging.spectral import of_matrices, orthogonalised, thin_svd

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Float64 = NDArray[np.float64]

ROUNDING = 1e-9  # coordinates that differ by less, relatively, are equal


@of_matrices
def combine(
    matrices: Sequence[NDArray[np.float32]], *, density: float, smoothing: str, rho: float
) -> Float64:
    """DC-Merge (Zhang et al., CVPR 2026; the authors' code for full fine-tuning).

    Of each `Tᵢ = Uᵢ Σᵢ Vᵢᵀ` the first `⌊rank/n⌋` singular triplets are kept. The nearest orthonormal bases
    `Ũ`, `Ṽ` to all the vectors cover every expert, whose coordinates are `Mᵢ = Ũᵀ Uᵢ Σᵢ Vᵢᵀ Ṽ`. The largest
    of them are kept (`density`), a sign is elected for each, those that have it are averaged, and of
    the result M the blocks that pair each expert's directions with themselves: `Ũ M Ṽᵀ`. The experts'
    factors are in Mᵢ; the mean is plain.
    """
    rank = max(min(matrices[0].shape) // len(matrices), 1)
    svds = [thin_svd(matrix, rank) for matrix in matrices]
    u = orthogonalised([svd.u for svd in svds])
    v = orthogonalised([svd.v for svd in svds])
    coordinates = [
        largest(((u.T @ svd.u) * smoothed(svd.s, smoothing, rho)) @ (svd.v.T @ v), density) for svd in svds
    ]
    owner = np.repeat(np.arange(len(svds)), [svd.s.size for svd in svds])
    merged = np.where(owner[:, None] == owner, elected_mean(np.stack(coordinates)), 0.0)
    return u @ merged @ v.T


def smoothed(s: Float64, smoothing: str, rho: float) -> Float64:
    """Singular values of the same sum, all equal or falling evenly by a ratio of `rho` at most."""
    if smoothing == "none":
        return s
    ratio = min(rho, float(s[0] / s[-1])) if smoothing == "linear" else 1.0
    slope = np.linspace(ratio, 1.0, s.size)
    return np.asarray(s.sum() * slope / slope.sum())


def largest(coordinates: Float64, density: float) -> Float64:
    """The largest of the coordinates, at least one; all others 0."""
    magnitudes = np.abs(coordinates)
    count = max(int(round(density * magnitudes.size, 6)), 1)
    threshold = np.partition(magnitudes, magnitudes.size - count, axis=None)[magnitudes.size - count]
    return np.where(magnitudes >= threshold * (1 - ROUNDING), coordinates, 0.0)


def elected_mean(coordinates: Float64) -> Float64:
    """Mean of the experts' coordinates, (n, k, k), that have the sign of their sum; 0 where it is 0."""
    total = coordinates.sum(axis=0)
    sign = np.where(np.abs(total) > ROUNDING * np.abs(coordinates).sum(axis=0), np.sign(total), 0.0)
    agrees = (np.sign(coordinates) == sign) & (sign != 0)
    return np.asarray(np.where(agrees, coordinates, 0.0).sum(axis=0) / np.maximum(agrees.sum(axis=0), 1))


SPEC = MethodSpec(
    name="dc_merge",
    combine=combine,
    summary="experts' largest coordinates in a basis that covers them all, signs elected",
    citation="Zhang et al. 2026, DC-Merge, CVPR",
    cut="tensor",
    matrices=True,
    parameters={
        "density": Parameter(1e-3, "share of each expert's coordinates that is kept, at least one", 0, 1),
        "smoothing": Parameter(
            "none",
            "what is made of an expert's singular values (the authors smooth LoRA experts)",
            choices=("none", "average", "linear"),
        ),
        "rho": Parameter(5.0, "linear smoothing: largest ratio of the first to the last singular value", 1),
    },
)
