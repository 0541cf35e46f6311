"""Singular value decompositions for the methods that merge task vectors as matrices.

A matrix of m x n is decomposed through the eigenvectors of its smaller Gram matrix, in float64. That costs
a third of a plain decomposition or less and squares the singular values: below `NULL` of the largest one a
direction cannot be told from rounding, and is left out. What is left out counts as a null direction of the
matrix, so that none is ever invented or divided by zero.
"""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from embedmerge.merging.part import Part
    from embedmerge.merging.spec import Combine

    Float32 = NDArray[np.float32]
    Float64 = NDArray[np.float64]

NULL = 1e-6  # its square, 1e-12, is what float64 resolves in a Gram matrix of some thousand rows


class Svd(NamedTuple):
    """`matrix = u diag(s) vᵀ`.

    Attributes:
        u: Left singular vectors, (rows, k).
        s: Singular values, the largest first, (k,).
        v: Right singular vectors, (columns, k).
    """

    u: Float64
    s: Float64
    v: Float64


def of_matrices(merge: Callable[..., Float64]) -> Combine:
    """A method's `combine` from its arithmetic on matrices.

    Args:
        merge: Takes the task vectors of a Linear's weight as matrices of float32, (out, in) each, times the
            experts' factors, and the parameters by keyword. An expert that counts for nothing, or has left
            this matrix as it is in the base, is not among them; there is at least one.
    """

    @wraps(merge)
    def combine(part: Part, /, **parameters: Any) -> Float32:
        counting = zip(part.factors, part.task_vectors, strict=True)
        scaled = (tau if factor == 1 else np.float32(factor) * tau for factor, tau in counting)
        matrices = [matrix for matrix in scaled if matrix.any()]  # a product may have become zero
        return merge(matrices, **parameters).astype(np.float32) if matrices else np.zeros_like(part.base)

    return combine


def total(matrices: Sequence[Float32]) -> Float64:
    """Sum of matrices, added up in float64."""
    added = matrices[0].astype(np.float64)
    for matrix in matrices[1:]:
        added += matrix
    return added


def thin_svd(matrix: NDArray[Any], rank: int | None = None, *, floor: float = 0.0) -> Svd:
    """The singular triplets of a matrix that are not null, the largest first.

    Args:
        matrix: (m, n).
        rank: Most triplets wanted; all of them where None.
        floor: A singular value at or below it is null as well: for a matrix that is what two larger ones
            differ by.
    """
    matrix = np.asarray(matrix, dtype=np.float64)
    if len(matrix) > matrix.shape[1]:
        v, s, u = thin_svd(matrix.T, rank, floor=floor)
        return Svd(u, s, v)
    _, u = top_eigen(matrix @ matrix.T, rank, floor=floor**2)
    v = matrix.T @ u
    s = np.linalg.norm(v, axis=0)
    return Svd(u, s, v / s)


def top_eigen(gram: Float64, rank: int | None = None, *, floor: float = 0.0) -> tuple[Float64, Float64]:
    """Largest eigenvalues of a Gram matrix, and their eigenvectors as columns.

    Args:
        gram: (n, n), symmetric and positive semidefinite up to rounding.
        rank: Most of them wanted; all that are not null where None.
        floor: An eigenvalue at or below it is null as well.
    """
    eigenvalues, vectors = np.linalg.eigh(gram)
    null = max(floor, NULL**2 * np.max(eigenvalues, initial=0.0))  # a basis may be empty
    present = int(np.count_nonzero(eigenvalues > null))
    count = present if rank is None else min(rank, present)
    last = len(eigenvalues)
    return eigenvalues[last - count :][::-1], vectors[:, last - count :][:, ::-1]


def orthogonalised(blocks: Sequence[Float64]) -> Float64:
    """The orthonormal columns nearest to those of several bases side by side (orthogonal Procrustes).

    `[B₁ … Bₙ] = P Σ Qᵀ` gives `P Qᵀ`. Directions that the bases share up to rounding are null in the
    stacked matrix: there the result is a partial isometry, each basis having its part of the direction.

    Args:
        blocks: Bases with orthonormal columns, (rows, kᵢ) each; more columns than rows are allowed.

    Returns:
        (rows, Σ kᵢ).
    """
    stacked = np.hstack(blocks)
    if len(blocks) == 1:
        return stacked
    if len(blocks) == 2:
        return stacked @ _inverse_root_of_pair(blocks[0].T @ blocks[1])
    eigenvalues, vectors = top_eigen(stacked.T @ stacked)
    return stacked @ ((vectors / np.sqrt(eigenvalues)) @ vectors.T)


def _inverse_root_of_pair(overlap: Float64) -> Float64:
    """Inverse square root of the Gram matrix `[[I, C], [Cᵀ, I]]` of two orthonormal bases.

    With `C = A diag(c) Bᵀ`, c being the cosines of their principal angles (Björck and Golub 1973), its
    eigenvalues are `1 ± c` at `[a; ±b]/√2` and 1 elsewhere: a decomposition of half the size.
    """
    a, c, b = thin_svd(overlap)
    apart = 1 - c
    shared = apart <= NULL**2
    differences = np.where(shared, 0.0, 1 / np.sqrt(np.where(shared, 1.0, apart)))
    sums = 1 / np.sqrt(1 + c)
    within, across = (sums + differences) / 2 - 1, (sums - differences) / 2
    corner = (a * across) @ b.T
    return np.block(
        [
            [np.eye(len(a)) + (a * within) @ a.T, corner],
            [corner.T, np.eye(len(b)) + (b * within) @ b.T],
        ]
    )
