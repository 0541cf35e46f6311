"""From an old model's vectors to a new model's, without reading a text again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from embedmerge.retrieval.vectors import Embeddings


@dataclass(frozen=True)
class Rotation:
    """A turn of one model's space onto another's.

    Attributes:
        matrix: Shape (dimension of the old, dimension of the new), with orthonormal rows or columns.
        fitted_on: Number of documents that it was fitted on.
    """

    matrix: NDArray[np.float32]
    fitted_on: int

    @classmethod
    def fitted(cls, old: Embeddings, new: Embeddings) -> Rotation:
        """The turn that brings the old vectors of some documents closest to their new ones.

        Orthogonal Procrustes (Schoenemann, Psychometrika 31, 1966), which Drift-Adapter (arXiv 2509.23471)
        uses for the same end. Where the dimensions differ, the matrix is semi-orthogonal.

        >>> turn = np.float32([[0, 1], [-1, 0]])
        >>> some = np.float32([[1, 2], [3, -1], [0, 1]])
        >>> np.allclose(Rotation.fitted(some, some @ turn).matrix, turn, atol=1e-6)
        True

        Args:
            old: Shape (documents, dimension of the old model).
            new: Shape (documents, dimension of the new model), of the same documents.
        """
        cross = old.astype(np.float64).T @ new.astype(np.float64)
        left, _, right = np.linalg.svd(cross, full_matrices=False)
        return cls((left @ right).astype(np.float32), len(old))

    def __call__(self, vectors: Embeddings) -> Embeddings:
        """Vectors of shape (documents, dimension of the old) in the new model's space."""
        turned: Embeddings = vectors @ self.matrix
        return turned
