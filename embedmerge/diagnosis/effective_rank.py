"""In how many directions a matrix acts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float32 = NDArray[np.float32]
    Float64 = NDArray[np.float64]

CHUNK = 1024  # columns that are held in float64 at a time


def effective_rank(matrix: Float32) -> float | None:
    """The exponential of the entropy of the singular values (Roy and Vetterli, EUSIPCO 2007, eq. 1-4).

    erank = exp(-Σ p log p) with p = σ / Σσ, the singular values σ from the smaller Gram in float64.

    1 where one direction says all, min(rows, columns) where all directions are alike.

    >>> round(effective_rank(np.eye(3, 5, dtype=np.float32)), 6)
    3.0

    Args:
        matrix: (rows, columns).

    Returns:
        A number between 1 and min(rows, columns); None for a matrix of zeros.
    """
    singular = np.sqrt(np.maximum(np.linalg.eigvalsh(_smaller_gram(matrix)), 0))
    total = singular.sum()
    if not total:
        return None
    shares = singular[singular > 0] / total
    return float(np.exp(-(shares * np.log(shares)).sum()))


def _smaller_gram(matrix: Float32) -> Float64:
    """Inner products of the rows or of the columns, whichever are fewer; their eigenvalues are σ²."""
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    gram = np.zeros((wide.shape[0],) * 2)
    for start in range(0, wide.shape[1], CHUNK):
        chunk = wide[:, start : start + CHUNK].astype(np.float64)
        gram += chunk @ chunk.T
    return gram
