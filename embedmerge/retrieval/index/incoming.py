"""Vectors from outside, block by block: checked, float32, scaled where the similarity asks for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from embedmerge.errors import EmbedmergeError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from embedmerge.retrieval.index.settings import Similarity
    from embedmerge.retrieval.vectors import Embeddings

ROWS = 8192


class Incoming:
    """Rows of an array, a memory map or a torch tensor, of which one block at a time is in memory.

    Args:
        vectors: Shape (rows, dimension); integers and other floats are converted.
        similarity: Rows are scaled to length one for `cosine`; a zero row stays zero.
        what: Name in messages.
        dimension: What it must be; None for any.

    Raises:
        EmbedmergeError: Not a matrix of numbers, another dimension, NaN or infinity.
    """

    def __init__(
        self, vectors: Any, similarity: Similarity, what: str = "vectors", dimension: int | None = None
    ) -> None:
        self._matrix = _matrix(vectors, what)
        self._similarity = similarity
        self.dimension = int(self._matrix.shape[1])
        if dimension is not None and self.dimension != dimension:
            msg = (
                f"{what}: {self.dimension} dimensions, the index has {dimension}; "
                "are they of the model that it was built with?"
            )
            raise EmbedmergeError(msg)
        for start, block in self._float_blocks():
            broken = np.flatnonzero(~np.isfinite(block).all(axis=1))
            if broken.size:
                msg = f"{what}: NaN or infinity in row {start + int(broken[0])}; is the model broken?"
                raise EmbedmergeError(msg)

    def __len__(self) -> int:
        return len(self._matrix)

    def blocks(self) -> Iterator[tuple[int, Embeddings]]:
        """Place of its first row and the rows, ready to be indexed, for each block."""
        for start, block in self._float_blocks():
            yield start, self._scaled(block)

    def rows(self, places: Sequence[int] | NDArray[np.int64]) -> Embeddings:
        """Some rows, ready to be indexed."""
        return self._scaled(self._float(self._matrix[places]))

    def all(self) -> Embeddings:
        """Every row, ready to be indexed."""
        return self._scaled(self._float(self._matrix))

    def _float_blocks(self) -> Iterator[tuple[int, Embeddings]]:
        for start in range(0, len(self), ROWS):
            yield start, self._float(self._matrix[start : start + ROWS])

    @staticmethod
    def _float(rows: Any) -> Embeddings:
        with np.errstate(over="ignore"):  # beyond float32 it is infinity, and refused
            return np.array(rows, dtype=np.float32, order="C")

    def _scaled(self, rows: Embeddings) -> Embeddings:
        if self._similarity != "cosine":
            return rows
        lengths = lengths_of(rows)[:, None]
        return np.asarray(np.divide(rows, lengths, out=rows, where=lengths > 0, casting="same_kind"))


def lengths_of(rows: Embeddings) -> NDArray[np.float64]:
    """L2 norms, in float64: in float32 the square of 1e20 is infinite, and that of 1e-30 is zero."""
    return np.asarray(np.sqrt(np.einsum("ij,ij->i", rows, rows, dtype=np.float64)))


def _matrix(vectors: Any, what: str) -> Any:
    if hasattr(vectors, "detach"):  # torch; numpy has no bfloat16
        vectors = vectors.detach().cpu().float().numpy()
    matrix = np.asanyarray(vectors)
    if matrix.ndim != 2 or matrix.dtype.kind not in "fiu":
        raise EmbedmergeError(f"{what}: shape {matrix.shape} of {matrix.dtype}, not a matrix of numbers")
    return matrix
