"""Directions and angles of tensors, from their inner products alone.

A combination `Σ cᵢ vᵢ` of tensors is kept as its coefficients c, so that its inner product with another
is `cᵀ G d` for the Gram matrix `G = (⟨vᵢ, vⱼ⟩)`: whatever happens on the sphere needs no tensor at hand.
Every function takes one Gram matrix (n, n), or one for each row of the tensors (rows, n, n), and gives
coefficients (n,) or (rows, n). A tensor of zeros has no direction: its cosine with any other is 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from embedmerge.merging.part import weighted_sum

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from embedmerge.merging.part import Part

    Float32 = NDArray[np.float32]
    Float64 = NDArray[np.float64]

PARALLEL = 0.9995  # |cosine| beyond which an arc is taken for a straight line, as is usual
NO_DIRECTION = 1e-6  # a mean of unit vectors this short is what rounding left of nothing


def turned_task_vectors(part: Part) -> tuple[Float32, ...]:
    """Task vectors, turned round where the expert's weight is negative.

    With `|pᵢ|` for shares this is what a negative weight means in a sum: `pᵢ τᵢ = |pᵢ| (-τᵢ)`.
    """
    pairs = zip(part.task_vectors, part.shares, strict=True)
    return tuple(-task_vector if share < 0 else task_vector for task_vector, share in pairs)


def row_gram(tensors: Sequence[Float32]) -> Float64:
    """Gram matrices of the rows: (rows, n, n) of n tensors (rows, columns)."""
    rows = np.stack(tensors, axis=1).astype(np.float64)
    return np.asarray(rows @ rows.transpose(0, 2, 1))


def combination(tensors: Sequence[Float32], coefficients: Float64) -> Float32:
    """`Σ cᵢ vᵢ`, with coefficients (n,) for whole tensors or (rows, n) for each row of them."""
    return weighted_sum(tensors, list(np.moveaxis(coefficients, -1, 0)[..., None]))


def norms(gram: Float64) -> Float64:
    """Lengths of the tensors."""
    return np.asarray(np.sqrt(np.einsum("...ii->...i", gram)))


def cosines(gram: Float64) -> Float64:
    """Cosines between the tensors."""
    inverse = _inverse(norms(gram))
    return np.clip(gram * inverse[..., :, None] * inverse[..., None, :], -1, 1)


def slerp(gram: Float64, t: float) -> Float64:
    """Coefficients of the point a share t of the way along the arc from one tensor to another.

    `sin((1-t)Ω)/sin Ω · v₀ + sin(tΩ)/sin Ω · v₁` (Shoemake 1985); a straight line where they point the
    same way, opposite ways, or nowhere.
    """
    straight = np.array([1 - t, t])
    cosine = cosines(gram)[..., 0, 1, None]
    length = norms(gram).min(axis=-1, keepdims=True)
    bent = (np.abs(cosine) <= PARALLEL) & (length > 0)
    angle = np.arccos(np.where(bent, cosine, 0))
    return np.where(bent, np.sin(straight * angle) / np.sin(angle), straight)


def mean_direction(gram: Float64, weights: ArrayLike) -> Float64:
    """Coefficients of the normalised weighted mean of the unit vectors; zeros where they cancel out."""
    return _normalised(gram, np.asarray(weights) * _inverse(norms(gram)))


def karcher_direction(gram: Float64, weights: ArrayLike, max_iter: int, tol: float) -> Float64:
    """Coefficients of the unit vector whose weighted squared angles to the others are smallest.

    From the mean direction on: the mean of the others in the tangent space there, then along it, at
    most `max_iter` times, until it is shorter than `tol` radians.
    """
    mean = mean_direction(gram, weights)
    units = np.diag(_inverse(norms(gram)))
    for _ in range(max_iter):
        cosine = np.clip(units @ gram @ mean, -1, 1)
        tangent = (np.asarray(weights) * _log_factor(cosine)) @ (units - np.outer(cosine, mean))
        angle = _length(gram, tangent)
        if angle < tol:
            break
        mean = _normalised(gram, np.cos(angle) * mean + np.sin(angle) / angle * tangent)
    return mean


def of_mean_length(direction: Float64, gram: Float64, weights: ArrayLike) -> Float64:
    """Coefficients of a direction at the tensors' weighted mean length; of their mean if it is none."""
    if not direction.any():
        return np.asarray(weights, dtype=np.float64)
    return np.asarray(direction * np.dot(weights, norms(gram)))


def _log_factor(cosine: Float64) -> Float64:
    """`θ / sin θ`; 0 where θ is 0 or π, as there is nowhere to go, or no way that is the shortest."""
    sine = np.sqrt(1 - cosine**2)
    return np.divide(np.arccos(cosine), sine, out=np.zeros_like(sine), where=sine > NO_DIRECTION)


def _normalised(gram: Float64, coefficients: Float64) -> Float64:
    length = _length(gram, coefficients)
    return coefficients / length if length > NO_DIRECTION else np.zeros_like(coefficients)


def _length(gram: Float64, coefficients: Float64) -> float:
    return float(np.sqrt(np.maximum(coefficients @ gram @ coefficients, 0)))


def _inverse(lengths: Float64) -> Float64:
    return np.divide(1.0, lengths, out=np.zeros_like(lengths), where=lengths > 0)
