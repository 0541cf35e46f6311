"""Arrays of embeddings: their length, and files that are written row by row."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from numpy.typing import NDArray

    Embeddings = NDArray[np.float32]
else:
    Embeddings = np.ndarray


def normalised(embeddings: Embeddings) -> Embeddings:
    """Rows scaled to length one; a zero row stays zero.

    >>> normalised(np.array([[3.0, 4.0]], dtype=np.float32))
    array([[0.6, 0.8]], dtype=float32)
    """
    lengths = np.linalg.norm(embeddings, axis=-1, keepdims=True)
    scaled: Embeddings = embeddings / np.maximum(lengths, 1e-12)
    return scaled


def write_rows(path: Path, blocks: Iterable[Embeddings], rows: int) -> None:
    """Write a `.npy` file of float32 as its blocks of rows come.

    Plain writes, since pages of a mapped file that were written count as memory of the process.

    Args:
        path: The file.
        blocks: Of one dimension.
        rows: Of all blocks together.
    """
    begun = False
    with path.open("wb") as handle:
        for block in blocks:
            if not begun:
                _write_header(handle, (rows, block.shape[1]))
                begun = True
            handle.write(np.ascontiguousarray(block, dtype="<f4").tobytes())
        if not begun:
            _write_header(handle, (0, 0))
        handle.flush()
        os.fsync(handle.fileno())


def _write_header(handle: object, shape: tuple[int, int]) -> None:
    header = {"descr": "<f4", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(handle, header)  # type: ignore[arg-type]
