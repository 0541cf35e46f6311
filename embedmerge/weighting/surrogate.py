"""Similarities of texts under any mixture of the sources, without encoding them again.

The pooled, not yet normalised embedding of a mixture is approximated by the mesh's quadratic form, so it is
linear in the mesh's features: `e(b) = Σ_k φ_k(b) F_k`. The inner product of a query and a passage is then a
quadratic form in `φ` whose matrix does not depend on the weights, and the same goes for their lengths. With
these matrices computed once, the scores of thousands of mixtures are one matrix product that no longer knows
the embedding's dimension.

For first-order linearity see cross-task linearity (Zhou et al. 2024, arXiv 2402.03660).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch
    from numpy.typing import NDArray

    from embedmerge.weighting.mesh import Mesh

    Float32 = NDArray[np.float32]
    Rows = NDArray[np.int64]

ELEMENTS_AT_ONCE = 1 << 21  # of an intermediate array: small enough to stay near the processor
NOTHING = -1


def mesh_features(mesh: Mesh, corners: list[Float32], midpoints: list[Float32]) -> Float32:
    """The `F_k`: embeddings at the corners, and how far each curved edge's midpoint is off the straight line.

    Args:
        mesh: Corners and curved edges, in this order.
        corners: Pooled embeddings by every corner's model, each of shape (texts, dimension).
        midpoints: The same by every curved edge's midpoint.

    Returns:
        Shape (features, texts, dimension).
    """
    bent = [
        middle - (corners[first] + corners[second]) / 2
        for middle, (first, second) in zip(midpoints, mesh.curved, strict=True)
    ]
    return np.stack([*corners, *bent]).astype(np.float32)


class PairScores:
    """Similarity of every query to each of its candidates, as a function of the mesh's features.

    Args:
        queries: Features of the queries, shape (features, queries, dimension).
        passages: Features of the passages, shape (features, passages, dimension).
        candidates: Passages that compete for each query, shape (queries, candidates); `NOTHING` fills up.
        cosine: Whether embeddings are normalised before they are compared.
    """

    def __init__(self, queries: Float32, passages: Float32, candidates: Rows, *, cosine: bool = True) -> None:
        import torch

        self.shape = candidates.shape
        self._candidates = torch.from_numpy(np.maximum(candidates, 0).ravel())
        self._absent = torch.from_numpy(candidates == NOTHING)
        self._some_absent = bool(self._absent.any())
        self._upper = torch.triu_indices(len(queries), len(queries))
        first, second = torch.from_numpy(queries), torch.from_numpy(passages)
        self._products = self._inner_products(first, second)
        self._lengths = (self._own_products(first), self._own_products(second)) if cosine else None

    @property
    def elements(self) -> int:
        """Scores of one mixture."""
        return int(np.prod(self.shape))

    def batches(self, mixtures: int) -> Iterator[slice]:
        """Mixtures that are best scored together."""
        size = max(1, ELEMENTS_AT_ONCE // self.elements)
        yield from (slice(start, min(start + size, mixtures)) for start in range(0, mixtures, size))

    def __call__(self, features: torch.Tensor) -> torch.Tensor:
        """Similarities of some mixtures.

        Args:
            features: Of the mesh, shape (mixtures, features), float32; may ask for a gradient.

        Returns:
            Shape (mixtures, queries, candidates); minus infinity where there is no candidate.
        """
        first, second = self._upper
        squares = (features[:, first] * features[:, second]).T
        # Mixtures lie innermost: a candidate's length is then a row to copy, and all is done in place.
        scores = (self._products @ squares).view(*self.shape, -1)
        if self._lengths is not None:
            of_queries, of_passages = (
                (products @ squares).clamp_min(1e-12).rsqrt() for products in self._lengths
            )
            scores *= of_passages.index_select(0, self._candidates).view_as(scores)
            scores *= of_queries[:, None]
        if self._some_absent:
            scores.masked_fill_(self._absent[:, :, None], -float("inf"))
        return scores.permute(2, 0, 1)

    def _inner_products(self, queries: torch.Tensor, passages: torch.Tensor) -> torch.Tensor:
        """Matrices of the quadratic forms of all pairs, upper half, shape (pairs, halves)."""
        import torch

        features, number, dimension = queries.shape
        width = self.shape[1]
        by_query, by_passage = queries.permute(1, 2, 0), passages.transpose(0, 1).contiguous()
        kept = torch.empty(number * width, self._upper.shape[1])
        step = max(1, ELEMENTS_AT_ONCE // (features * width * dimension))
        for start in range(0, number, step):
            stop = min(start + step, number)
            own = self._candidates[start * width : stop * width]
            gathered = by_passage[own].view(stop - start, width * features, dimension)
            products = torch.bmm(gathered, by_query[start:stop])
            kept[start * width : stop * width] = self._halved(products.view(-1, features, features))
        return kept

    def _own_products(self, texts: torch.Tensor) -> torch.Tensor:
        """The same of every text with itself, shape (texts, halves)."""
        import torch

        by_text = texts.transpose(0, 1)
        return self._halved(torch.bmm(by_text, by_text.transpose(1, 2)))

    def _halved(self, products: torch.Tensor) -> torch.Tensor:
        """The upper half of quadratic forms, each pair of features once."""
        first, second = self._upper
        halved = products[:, first, second] + products[:, second, first]
        halved[:, first == second] /= 2
        return halved
