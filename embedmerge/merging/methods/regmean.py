"""The Linears whose outputs are nearest to all sources' outputs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from embedmerge.merging.spec import MethodSpec, Parameter

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from embedmerge.merging.part import Part

    Float32 = NDArray[np.float32]
    Float64 = NDArray[np.float64]

RIDGE = 1e-6


def combine(part: Part, *, alpha: float, **_: Any) -> Float32:
    """`Wᵀ = (Σ cᵢ Gᵢ)⁻¹ Σ cᵢ Gᵢ Wᵢᵀ` over all sources (arXiv 2212.09849, eq. 2).

    It minimises `Σ cᵢ |Xᵢ Wᵀ - Xᵢ Wᵢᵀ|²` over the inputs that `Gᵢ = XᵢᵀXᵢ` was gathered from
    (`statistics.gram`). Each Gᵢ has its off-diagonals times alpha (section 3.2) and one ridge for all, so
    that directions of which no text tells anything are averaged. It is computed as
    `W₀ᵀ + Σ|cᵢ| · (Σ |cᵢ| Gᵢ)⁻¹ Σ cᵢ Gᵢ τᵢᵀ`, which is the same for weights that are not negative and
    stays bounded for those that are.
    """
    from scipy.linalg import cho_factor, cho_solve  # as slow to import as a small model is to merge

    rows, width = part.site.shape
    ridge = _ridge(part)
    total, wanted = np.zeros((width, width)), np.zeros((width, rows))
    assert part.statistics is not None
    moves = (None, *part.task_vectors)  # the base moves nowhere, and holds the others back
    for weight, gram, task_vector in zip(part.weights, part.statistics, moves, strict=True):
        if weight:
            regular = _regularised(gram.reshape(width, width), alpha, ridge)
            total += abs(weight) * regular
            if task_vector is not None:
                wanted += weight * (regular @ task_vector.T)
    reach = sum(abs(weight) for weight in part.weights)
    moved = cho_solve(cho_factor(total), wanted).T
    return np.asarray(part.base + reach * moved, dtype=np.float32)


def _ridge(part: Part) -> float:
    """A small part of the largest Gram matrix's norm; 1 where all are zero.

    In float32 a Gram matrix is off by up to 2⁻²⁴ of its norm, which can make one of low rank indefinite. A
    ridge sixteen times that keeps the sum positive definite, and what rounding decides small.
    """
    assert part.statistics is not None
    return RIDGE * max(float(np.linalg.norm(gram)) for gram in part.statistics) or 1.0


def _regularised(gram: Float32, alpha: float, ridge: float) -> Float64:
    regular = alpha * gram.astype(np.float64)
    np.fill_diagonal(regular, gram.diagonal().astype(np.float64) + ridge)
    return regular


SPEC = MethodSpec(
    name="regmean",
    combine=combine,
    summary="Linears whose outputs on unlabelled text are nearest to all sources' outputs",
    citation="Jin et al. 2023, arXiv 2212.09849",
    of="sources",
    cut="tensor",
    matrices=True,
    statistics="gram",
    parameters={
        "alpha": Parameter(0.9, "factor on the off-diagonals of each Gram matrix", 0, 1),
        "examples": Parameter(256, "texts at most that are read", 8, whole=True),
        "seed": Parameter(0, "of the choice of texts", 0, whole=True),
    },
)
