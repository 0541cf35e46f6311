"""What coefficients of blocks are learned by: losses on drawn batches of texts."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Protocol

import numpy as np

from embedmerge.statistics.text import Text
from embedmerge.weighting.ground import SettledPreservation, SettledRetrieval
from embedmerge.weighting.ranking import Relevance, divergence, infonce

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch
    from numpy.typing import NDArray

    from embedmerge.retrieval.encoder import Encoder
    from embedmerge.weighting.groundwork import Groundwork
    from embedmerge.weighting.merged_forward import MergedModel

    Float32 = NDArray[np.float32]
    Rows = NDArray[np.int64]
    Weighted = list[tuple[float, "Term"]]

HARDEST = 10  # candidates without relevance, own negatives first, that a query's are drawn from


class Term(Protocol):
    """A part of the objective."""

    def __call__(self, model: MergedModel, generator: np.random.Generator) -> torch.Tensor:
        """Its mean on a drawn batch, in nats or as a cosine distance; differentiable."""


@dataclass(frozen=True)
class Contrast:
    """InfoNCE of some queries, against passages drawn for them and for the others of the batch.

    Attributes:
        queries: All queries.
        passages: All candidates, in the order of `settled.kept`.
        settled: Which compete for which query, and which are relevant.
        rows: Queries that may be drawn.
        size: Queries in a batch.
        negatives: Candidates drawn for each query besides a relevant one.
        cosine: Whether embeddings are normalised before they are compared.
    """

    queries: Sequence[str]
    passages: Sequence[str]
    settled: SettledRetrieval
    rows: Rows
    size: int
    negatives: int
    cosine: bool = True

    def __call__(self, model: MergedModel, generator: np.random.Generator) -> torch.Tensor:
        """Mean InfoNCE in nats."""
        batch = generator.permutation(self.rows)[: self.size]
        places = np.unique(np.concatenate([self._drawn(query, generator) for query in batch]))
        queries = model.pooled([Text(self.queries[query], "query") for query in batch])
        passages = model.pooled([Text(self.passages[place]) for place in places])
        scores = similarities(queries, passages, cosine=self.cosine)[None]
        return infonce(scores, self._relevance(batch, places), self.settled.temperature).mean()

    def _drawn(self, query: int, generator: np.random.Generator) -> Rows:
        """Places of one relevant passage and of some hard ones."""
        relevant = self._relevant(query)
        candidates = self.settled.candidates[query]
        others = candidates[(candidates >= 0) & ~np.isin(candidates, relevant)][:HARDEST]
        return np.append(generator.choice(relevant), generator.permutation(others)[: self.negatives])

    def _relevant(self, query: int) -> Rows:
        places = self.settled.relevance.places[query]
        relevant: Rows = self.settled.candidates[query][places[places >= 0]]
        return relevant

    def _relevance(self, batch: Rows, places: Rows) -> Relevance:
        """Where in the batch the relevant passages are, those drawn for another query too."""
        found = [np.flatnonzero(np.isin(places, self._relevant(query))) for query in batch]
        where = np.full((len(batch), max(map(len, found))), -1)
        for row, own in enumerate(found):
            where[row, : len(own)] = own
        return Relevance(where, (where >= 0).astype(np.float32))


@dataclass(frozen=True)
class Keep:
    """Divergence from the base's similarities among unlabelled texts.

    Attributes:
        texts: All texts.
        of_base: Their pooled embeddings by the base, as queries and as passages, each of shape
            (texts, dimension).
        rows: Texts that may be drawn.
        size: Texts in a batch.
        temperature: Divides similarities before the softmax.
        cosine: Whether embeddings are normalised before they are compared.
    """

    texts: Sequence[str]
    of_base: tuple[Float32, Float32]
    rows: Rows
    size: int
    temperature: float
    cosine: bool = True

    def __call__(self, model: MergedModel, generator: np.random.Generator) -> torch.Tensor:
        """Mean KL divergence in nats."""
        import torch

        batch = generator.permutation(self.rows)[: self.size]
        texts = [self.texts[row] for row in batch]
        queries = model.pooled([Text(text, "query") for text in texts])
        passages = model.pooled([Text(text) for text in texts])
        wanted = [torch.from_numpy(embedded[batch]) for embedded in self.of_base]
        return _matrix_divergence(
            similarities(queries, passages, cosine=self.cosine),
            similarities(*wanted, cosine=self.cosine),
            self.temperature,
        )


@dataclass(frozen=True)
class Align:
    """Distance from an expert's embeddings of text of its own domain, and from their similarities.

    `E[1 - cos(f(x), f_i(x))] + β KL(S_i || S)`: Expert Merging's alignment with each expert on its own data
    (Zhang et al. 2025, arXiv 2509.25712), where an encoder's embeddings stand for logits and hidden states.

    Attributes:
        texts: The texts.
        of_expert: Their pooled embeddings by the expert, shape (texts, dimension).
        size: Texts in a batch.
        temperature: Divides similarities before the softmax.
        similarity_weight: The β.
    """

    texts: Sequence[Text]
    of_expert: Float32
    size: int
    temperature: float
    similarity_weight: float

    @classmethod
    def with_expert(
        cls, expert: Encoder, texts: Sequence[Text], size: int, temperature: float, similarity_weight: float
    ) -> Align:
        """The term that pulls towards one expert."""
        embeddings: dict[int, Float32] = {}
        for kind in ("query", "document"):
            rows = [row for row, text in enumerate(texts) if text.kind == kind]
            found = expert.pooled([texts[row].content for row in rows], expert.model.prompt(kind))
            embeddings.update(zip(rows, found, strict=True))
        embedded = np.stack([embeddings[row] for row in range(len(texts))])
        return cls(texts, embedded, size, temperature, similarity_weight)

    def __call__(self, model: MergedModel, generator: np.random.Generator) -> torch.Tensor:
        """Mean cosine distance plus β times the mean divergence in nats."""
        import torch

        batch = generator.permutation(len(self.texts))[: self.size]
        found = model.pooled([self.texts[row] for row in batch])
        wanted = torch.from_numpy(self.of_expert[batch])
        distance = 1 - torch.nn.functional.cosine_similarity(found, wanted).mean()
        kept = _matrix_divergence(similarities(found, found), similarities(wanted, wanted), self.temperature)
        return distance + self.similarity_weight * kept


def of_grounds(survey: Groundwork, rows: tuple[Rows, Rows], size: int, negatives: int) -> list[Term]:
    """A term for each ground of a survey, the target's first.

    Args:
        survey: With one target ground.
        rows: Target and general queries that may be drawn, the latter counted over all grounds.
        size: Queries in a batch.
        negatives: Candidates drawn for each query of a ground with labels.
    """
    edges = np.cumsum([0, *(len(ground.queries) for ground in survey.grounds[1:])])
    general = [
        rows[1][(rows[1] >= start) & (rows[1] < stop)] - start for start, stop in pairwise(edges.tolist())
    ]
    cosine = survey.evidence.trials.cosine
    of_base = survey.landscape.merged(survey.corners[0])
    terms: list[Term] = []
    for ground, settled, own, embedded in zip(
        survey.grounds, survey.landscape.settled, [rows[0], *general], of_base, strict=True
    ):
        if isinstance(settled, SettledRetrieval):
            kept = [ground.passages[row] for row in settled.kept]
            terms.append(Contrast(ground.queries, kept, settled, own, size, negatives, cosine))
        elif isinstance(settled, SettledPreservation):
            terms.append(Keep(ground.queries, embedded, own, size, settled.temperature, cosine))
    return terms


def similarities(first: torch.Tensor, second: torch.Tensor, *, cosine: bool = True) -> torch.Tensor:
    """Similarity of every row of one to every row of the other, shape (first, second)."""
    import torch

    if cosine:
        first, second = (torch.nn.functional.normalize(each, dim=-1) for each in (first, second))
    return first @ second.T


def _matrix_divergence(found: torch.Tensor, wanted: torch.Tensor, temperature: float) -> torch.Tensor:
    """Mean over the rows of the divergence between similarities to all the other texts."""
    import torch

    itself = torch.eye(len(found), dtype=torch.bool)
    found, wanted = (each.masked_fill(itself, -float("inf"))[None] for each in (found, wanted))
    return divergence(found, wanted, temperature).mean()
