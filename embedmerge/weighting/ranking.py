"""Retrieval measures of many mixtures at once, query by query, from similarities to candidates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    Rows = NDArray[np.int64]
    Float32 = NDArray[np.float32]

MANY = 16  # relevant passages of a query from which on sorting is cheaper than counting for each


@dataclass(frozen=True)
class Relevance:
    """Which candidates answer which query.

    Attributes:
        places: Places of the relevant ones among the candidates, shape (queries, most); -1 fills up.
        grades: How relevant each is, the same shape; 0 fills up.
    """

    places: Rows
    grades: Float32

    @property
    def known(self) -> NDArray[np.bool_]:
        """Where there is a relevant candidate, shape (queries, most)."""
        return self.places >= 0


def ndcg_at(scores: torch.Tensor, relevance: Relevance, k: int = 10) -> torch.Tensor:
    """nDCG@k, gains being the grades as in trec_eval (Järvelin and Kekäläinen 2002).

    Passages of equal score count as ranked before the relevant one, so that a model that gives every text
    the same vector earns nothing.

    Args:
        scores: Similarities, shape (mixtures, queries, candidates).
        relevance: Of the candidates.
        k: Ranks that count.

    Returns:
        Shape (mixtures, queries), from 0 to 1.
    """
    import torch

    grades = torch.from_numpy(relevance.grades)
    discounts = 1 / torch.log2(torch.arange(2, k + 2, dtype=torch.float32))
    best = grades.sort(dim=1, descending=True).values[:, :k]
    ideal = (best * discounts[: best.shape[1]]).sum(dim=1)
    ranks = _ranks(scores, relevance)
    gains = torch.where(ranks < k, discounts[ranks.clamp_max(k - 1)], torch.zeros(())) * grades
    return gains.sum(dim=2) / ideal


def recall_at(scores: torch.Tensor, relevance: Relevance, k: int = 100) -> torch.Tensor:
    """Share of a query's relevant passages that are among the first k.

    Args:
        scores: Similarities, shape (mixtures, queries, candidates).
        relevance: Of the candidates.
        k: Ranks that count.

    Returns:
        Shape (mixtures, queries), from 0 to 1.
    """
    import torch

    known = torch.from_numpy(relevance.known)
    found = (_ranks(scores, relevance) < k) & known
    return found.sum(dim=2) / known.sum(dim=1)


def infonce(scores: torch.Tensor, relevance: Relevance, temperature: float) -> torch.Tensor:
    """InfoNCE of every query against all its candidates (van den Oord et al. 2018, arXiv 1807.03748).

    Of several relevant passages each is scored against those that are not, and the losses are averaged.

    Args:
        scores: Similarities, shape (mixtures, queries, candidates).
        relevance: Of the candidates.
        temperature: Divides the similarities.

    Returns:
        Shape (mixtures, queries), in nats; differentiable.
    """
    import torch

    own = _own(scores, relevance) / temperature
    negatives = torch.logsumexp(
        scores.masked_fill(_is_relevant(scores, relevance), -float("inf")) / temperature, 2
    )
    known = torch.from_numpy(relevance.known)
    losses = torch.logaddexp(own, negatives[:, :, None]) - own
    return torch.where(known, losses, torch.zeros(())).sum(dim=2) / known.sum(dim=1)


def divergence(scores: torch.Tensor, reference: torch.Tensor, temperature: float) -> torch.Tensor:
    """KL divergence from a reference's distribution over candidates to that of each mixture.

    Args:
        scores: Similarities, shape (mixtures, queries, candidates).
        reference: Similarities by the reference, shape (1, queries, candidates).
        temperature: Divides both.

    Returns:
        Shape (mixtures, queries), in nats, 0 where the similarities agree; differentiable.
    """
    import torch

    expected = torch.log_softmax(reference / temperature, dim=2)
    found = torch.log_softmax(scores / temperature, dim=2)
    present = torch.isfinite(expected)
    terms = torch.where(present, expected.exp() * (expected - found), torch.zeros(()))
    return terms.sum(dim=2)


def _own(scores: torch.Tensor, relevance: Relevance) -> torch.Tensor:
    """Scores of the relevant candidates, shape (mixtures, queries, most)."""
    import torch

    by_query = scores.permute(1, 2, 0)  # as they lie in memory
    places = torch.from_numpy(np.maximum(relevance.places, 0))[:, :, None].expand(-1, -1, len(scores))
    return by_query.gather(1, places).permute(2, 0, 1)


def _ranks(scores: torch.Tensor, relevance: Relevance) -> torch.Tensor:
    """How many candidates stand before each relevant one, shape (mixtures, queries, most)."""
    import torch

    scores = scores.detach()
    own = _own(scores, relevance)
    if own.shape[2] > MANY:
        worse = torch.searchsorted(scores.contiguous().sort(dim=2).values, own.contiguous())
        return scores.shape[2] - worse - 1
    before = torch.empty_like(scores)  # counted as floats: sums of booleans take torch several times as long
    # One relevant passage at a time: all at once would be an array of candidates times relevant ones.
    counts = [
        torch.ge(scores, own[:, :, place, None], out=before).sum(dim=2) for place in range(own.shape[2])
    ]
    return torch.stack(counts, dim=2).long() - 1


def _is_relevant(scores: torch.Tensor, relevance: Relevance) -> torch.Tensor:
    """Which candidates are relevant, shape (queries, candidates)."""
    import torch

    marked = torch.zeros(scores.shape[1], scores.shape[2] + 1, dtype=torch.bool)
    filled = torch.from_numpy(np.where(relevance.known, relevance.places, scores.shape[2]))
    return marked.scatter_(1, filled, True)[:, :-1]
