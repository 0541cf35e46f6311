"""What kind of index, and how vectors are compared in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from embedmerge.errors import EmbedmergeError, nearest

BuiltKind = Literal["exact", "hnsw", "ivf", "sq8", "ivf_sq8", "pq"]
Kind = Literal["auto", "exact", "hnsw", "ivf", "sq8", "ivf_sq8", "pq"]
Similarity = Literal["cosine", "dot", "euclidean"]

KINDS: tuple[Kind, ...] = get_args(Kind)
SIMILARITIES: tuple[Similarity, ...] = get_args(Similarity)

# What `auto` still searches exactly: 1.4 million vectors of 384 dimensions.
AFFORDABLE = 2 << 30


@dataclass(frozen=True)
class IndexSettings:
    """How an index is built and searched.

    >>> IndexSettings(similarity="manhattan")
    Traceback (most recent call last):
    ...
    embedmerge.errors.EmbedmergeError: similarity 'manhattan': not one that is indexed; there are: cosine, ...

    Attributes:
        kind: `exact`; `hnsw`, a graph over the vectors (arXiv 1603.09320); `ivf`, inverted lists around
            k-means centres; `sq8`, one byte per dimension; `ivf_sq8`, both; `pq`, product quantisation to
            a byte for every four dimensions (Jégou et al. 2011); `auto`, `exact` up to 2 GiB of vectors and
            `ivf_sq8` beyond.
        similarity: As the model says. For `cosine`, vectors are scaled to length one as they come; a score
            under `euclidean` is the negative distance.
        effort: What a search looks at: candidates of `hnsw` (efSearch), lists of `ivf` and `ivf_sq8`
            (nprobe); None for 128 candidates, and for a 32nd of the lists but 64 at least. The other kinds
            look at everything.
        seed: Of the training sample and of k-means.

    Raises:
        EmbedmergeError: No such kind or similarity, or an effort that is not positive.
    """

    kind: Kind = "auto"
    similarity: Similarity = "cosine"
    effort: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise EmbedmergeError(f"index kind {self.kind!r}: no such kind; {nearest(self.kind, KINDS)}")
        if self.similarity not in SIMILARITIES:
            known = nearest(self.similarity, SIMILARITIES)
            raise EmbedmergeError(f"similarity {self.similarity!r}: not one that is indexed; {known}")
        if self.effort is not None and self.effort < 1:
            raise EmbedmergeError(f"effort {self.effort}: an index search looks at 1 candidate at least")

    def kind_for(self, vectors: int, dimension: int) -> BuiltKind:
        """The kind to build for so many float32 vectors.

        >>> IndexSettings().kind_for(1_000_000, 384), IndexSettings().kind_for(10_000_000, 384)
        ('exact', 'ivf_sq8')
        """
        if self.kind != "auto":
            return self.kind
        return "exact" if 4 * vectors * dimension <= AFFORDABLE else "ivf_sq8"
