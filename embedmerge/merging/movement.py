"""How far the columns of a matrix have moved from the base, in length and in direction."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from embedmerge.merging.anatomy import Site
    from embedmerge.merging.part import Part

    Float64 = NDArray[np.float64]


class Movement:
    """Which columns of each expert have moved more than its others, told in one pass over whole rows.

    `facts` is for a matrix a float64 array (2, experts, columns) of ranks, by the change of length and
    by the change of direction: from 0 for the column that has moved least to nearly 1. The rows of a
    lookup table take the part of columns. For any other tensor it is the mean of `|τᵢ|`, (experts, 1).
    """

    def __init__(self) -> None:
        self.passes = 1
        self._site: Site | None = None
        self._sums: list[Float64] = []

    def look(self, part: Part) -> tuple[Site, Float64]:
        """Sums over a slice."""
        if not is_matrix(part.site):
            sums = [[np.abs(tau).sum(dtype=np.float64)] for tau in part.task_vectors]
            return part.site, np.array(sums)
        base, *experts = (source.astype(np.float64) for source in part.sources)
        pairs = [(base, base), *zip(experts, experts, strict=True), *((expert, base) for expert in experts)]
        subscripts = "rc,rc->r" if part.site.kind == "embedding" else "rc,rc->c"
        return part.site, np.stack([np.einsum(subscripts, *pair) for pair in pairs])

    def add(self, seen: tuple[Site, Float64]) -> None:
        """Rows of a lookup table follow each other; all else is added up."""
        self._site, sums = seen
        if self._site.kind == "embedding" or not self._sums:
            self._sums.append(sums)
        else:
            self._sums[0] = self._sums[0] + sums

    def finish_pass(self) -> bool:
        """One pass is all."""
        return False

    @property
    def facts(self) -> Float64:
        """The ranks, or the means."""
        assert self._site is not None
        sums = np.concatenate(self._sums, axis=1)
        if not is_matrix(self._site):
            return np.asarray(sums / self._site.elements)
        return np.stack([_ranks(moved) for moved in _length_and_direction(sums)])


def is_matrix(site: Site) -> bool:
    """Whether a tensor has columns that can be told apart."""
    return site.kind in ("linear", "embedding")


def _length_and_direction(sums: Float64) -> tuple[Float64, Float64]:
    """`|‖wᵢ‖ - ‖w₀‖|` and `1 - cos(wᵢ, w₀)` for each column; 0 where one of the two has no direction.

    Args:
        sums: Squared lengths, base first, then the experts' inner products with the base.
    """
    experts = len(sums) // 2
    squares, products = sums[: experts + 1], sums[experts + 1 :]
    # One root of the product, so that a column that has not moved has a cosine of exactly 1.
    norms = np.sqrt(squares[1:] * squares[0])
    cosines = np.divide(products, norms, out=np.ones_like(products), where=norms > 0)
    return np.abs(np.sqrt(squares[1:]) - np.sqrt(squares[0])), 1 - cosines


def _ranks(moved: Float64) -> Float64:
    """Rank of each column within its expert, the first of equals being the lower; in [0, 1)."""
    order = np.argsort(moved, axis=1, kind="stable")
    ranks = np.empty_like(moved)
    np.put_along_axis(ranks, order, np.arange(moved.shape[1])[None] / moved.shape[1], axis=1)
    return ranks
