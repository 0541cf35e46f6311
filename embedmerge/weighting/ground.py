"""What a mixture is judged on: retrieval with labels, or the base's own ranking of texts kept."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

from embedmerge.weighting.pool import candidates_of, first_ranks
from embedmerge.weighting.ranking import divergence, infonce, ndcg_at, recall_at
from embedmerge.weighting.surrogate import NOTHING

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch
    from numpy.typing import NDArray

    from embedmerge.weighting.pool import Pool
    from embedmerge.weighting.ranking import Relevance

    Embeddings = NDArray[np.float32]
    Rows = NDArray[np.int64]

Measure = Literal["ndcg_at_10", "recall_at_100", "loss"]
BATCH = 128  # texts that are candidates for one another


class Ground(Protocol):
    """Queries and passages, whose competition the sources decide."""

    @property
    def name(self) -> str:
        """For tables."""

    @property
    def queries(self) -> Sequence[str]:
        """Texts that get a model's query prompt."""

    @property
    def passages(self) -> Sequence[str]:
        """Texts that get its document prompt."""

    @property
    def labels(self) -> Sequence[dict[int, int]]:
        """For each query, row of a relevant passage -> grade; none without labels."""

    def settle(self, embedded: Sequence[tuple[Embeddings, Embeddings]], *, cosine: bool) -> Settled:
        """Find which passages compete for which query.

        Args:
            embedded: Queries and passages by every source, base first.
            cosine: Whether embeddings are normalised before they are compared.
        """


class Settled(Protocol):
    """A ground whose candidates are known."""

    @property
    def kept(self) -> Rows:
        """Rows of the passages that are candidates of some query."""

    @property
    def candidates(self) -> Rows:
        """Places among `kept`, shape (queries, candidates), filled up with `NOTHING`."""

    def values(self, scores: torch.Tensor, of_base: torch.Tensor, measure: Measure) -> torch.Tensor:
        """A value per query, higher being better.

        Args:
            scores: Similarities, shape (mixtures, queries, candidates).
            of_base: The base's, shape (1, queries, candidates).
            measure: For grounds with labels.

        Returns:
            Shape (mixtures, queries); retrieval measures in points, losses and divergences in nats, negated.
        """

    def nothing(self, of_base: torch.Tensor) -> torch.Tensor:
        """The value of a model to which all candidates look alike, shape (queries,)."""


@dataclass(frozen=True)
class Retrieval:
    """Queries with labels.

    Attributes:
        name: For tables.
        pool: Queries and passages.
        temperature: Divides similarities in the loss.
        most: Candidates of a query at most besides the relevant ones.
    """

    name: str
    pool: Pool
    temperature: float = 0.05
    most: int | None = None

    @property
    def queries(self) -> Sequence[str]:
        """The queries."""
        return self.pool.queries

    @property
    def passages(self) -> Sequence[str]:
        """The passages."""
        return self.pool.passages

    @property
    def labels(self) -> Sequence[dict[int, int]]:
        """Those of the pool."""
        return self.pool.relevant

    def settle(
        self, embedded: Sequence[tuple[Embeddings, Embeddings]], *, cosine: bool = True
    ) -> SettledRetrieval:
        """Relevant passages, own negatives, and each source's first hundred."""
        rankings = [first_ranks(queries, passages, cosine=cosine) for queries, passages in embedded]
        rows, relevance = candidates_of(self.pool, rankings, self.most)
        kept, places = np.unique(rows, return_inverse=True)
        absent = int(kept[0] == NOTHING)  # sorted, so it stands first
        candidates = places.reshape(rows.shape) - absent
        return SettledRetrieval(kept[absent:], candidates, relevance, self.temperature)


@dataclass(frozen=True)
class SettledRetrieval:
    """Labelled queries with their candidates."""

    kept: Rows
    candidates: Rows
    relevance: Relevance
    temperature: float

    def values(self, scores: torch.Tensor, of_base: torch.Tensor, measure: Measure) -> torch.Tensor:
        """As `Settled.values`."""
        if measure == "loss":
            return -infonce(scores, self.relevance, self.temperature)
        if measure == "recall_at_100":
            return 100 * recall_at(scores, self.relevance)
        return 100 * ndcg_at(scores, self.relevance)

    def nothing(self, of_base: torch.Tensor) -> torch.Tensor:
        """No points."""
        import torch

        return torch.zeros(of_base.shape[1])


@dataclass(frozen=True)
class Preservation:
    """Unlabelled texts, on which the base's own ranking is to be kept.

    Each text is a query to the others of its batch. What is measured is how far the distribution over
    them has moved from the base's, as in distillation by similarities (learning without forgetting, Li and
    Hoiem 2016, arXiv 1606.09282, with candidates in the place of classes).

    Attributes:
        name: For tables.
        texts: The texts; neighbours in the file compete.
        temperature: Divides similarities before the softmax.
    """

    name: str
    texts: Sequence[str]
    temperature: float = 0.05

    @property
    def queries(self) -> Sequence[str]:
        """The texts."""
        return self.texts

    @property
    def passages(self) -> Sequence[str]:
        """The texts again."""
        return self.texts

    @property
    def labels(self) -> Sequence[dict[int, int]]:
        """None."""
        return ()

    def settle(
        self, embedded: Sequence[tuple[Embeddings, Embeddings]], *, cosine: bool = True
    ) -> SettledPreservation:
        """All others of the same batch; what the sources say does not matter."""
        number = len(self.texts)
        batches = max(1, round(number / BATCH))
        edges = np.linspace(0, number, batches + 1).astype(int)
        widest = int(np.diff(edges).max())
        candidates = np.full((number, widest), NOTHING)
        for start, stop in pairwise(edges):
            candidates[start:stop, : stop - start] = np.arange(start, stop)
        candidates[candidates == np.arange(number)[:, None]] = NOTHING
        return SettledPreservation(np.arange(number), candidates, self.temperature)


@dataclass(frozen=True)
class SettledPreservation:
    """Unlabelled texts in batches."""

    kept: Rows
    candidates: Rows
    temperature: float

    def values(self, scores: torch.Tensor, of_base: torch.Tensor, measure: Measure) -> torch.Tensor:
        """KL divergence from the base's distribution over a text's candidates, negated."""
        return -divergence(scores, of_base, self.temperature)

    def nothing(self, of_base: torch.Tensor) -> torch.Tensor:
        """The divergence from the base of a uniform distribution, negated."""
        alike = of_base.where(of_base.isinf(), of_base.new_zeros(()))
        return -divergence(alike, of_base, self.temperature)[0]
