"""What task vectors look like, block by block."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from statistics import fmean
from typing import TYPE_CHECKING

from embedmerge.diagnosis.blocks import sites_by_block

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from embedmerge.diagnosis.moments import Moments
    from embedmerge.merging.anatomy import Site

MODEL = "model"


@dataclass(frozen=True)
class MatrixRank:
    """The effective rank of a task vector in one Linear.

    Attributes:
        effective: Between 1 and `full`; None where the task vector is zero.
        full: The smaller one of rows and columns.
    """

    effective: float | None
    full: int


@dataclass(frozen=True)
class ExpertMeasures:
    """One task vector in one block.

    Attributes:
        relative_norm: Its norm by the norm of the base's weights; None where those are zero.
        effective_rank: Mean over the block's Linears that it moved; None where it moved none, or where
            it was not asked for.
        rank_share: The same by the full rank of each, in [0, 1].
    """

    relative_norm: float | None
    effective_rank: float | None = None
    rank_share: float | None = None


@dataclass(frozen=True)
class PairMeasures:
    """Two task vectors in one block.

    Attributes:
        experts: Their names.
        cosine: Of the two; None where one is zero.
        sign_agreement: Share of the elements that both moved which they moved the same way.
    """

    experts: tuple[str, str]
    cosine: float | None
    sign_agreement: float | None


@dataclass(frozen=True)
class BlockMeasures:
    """All task vectors in one block.

    Attributes:
        name: `embeddings`, `block 0` and so on, `head`, or `model` for all of them.
        elements: Number of elements.
        experts: One entry per expert, in their order.
        pairs: One entry per pair of experts.
        all_agree: Share of the elements that all experts moved which all moved the same way; None for
            fewer than three.
    """

    name: str
    elements: int
    experts: tuple[ExpertMeasures, ...]
    pairs: tuple[PairMeasures, ...] = ()
    all_agree: float | None = None


Ranks = dict["Site", tuple[MatrixRank, ...]]


def by_block(names: Sequence[str], moments: Mapping[Site, Moments], ranks: Ranks) -> list[BlockMeasures]:
    """The measures of every block, from the embeddings to the head, and of the whole model at the end.

    Args:
        names: Of the experts.
        moments: Of every tensor.
        ranks: One per expert of every Linear; empty where they were not asked for.
    """
    groups = sites_by_block(moments) | {MODEL: list(moments)}
    return [
        _measures(
            name, names, summed(moments[site] for site in sites), [ranks[s] for s in sites if s in ranks]
        )
        for name, sites in groups.items()
    ]


def summed(moments: Iterable[Moments]) -> Moments:
    """The moments of several tensors together; there must be one at least."""
    first, *others = moments
    return sum(others, first)


def _measures(
    name: str, names: Sequence[str], moments: Moments, ranks: Sequence[tuple[MatrixRank, ...]]
) -> BlockMeasures:
    pairs = combinations(range(len(names)), 2)
    return BlockMeasures(
        name,
        moments.elements,
        tuple(_expert(moments.relative_norm(at), [rank[at] for rank in ranks]) for at in range(len(names))),
        tuple(
            PairMeasures((names[a], names[b]), moments.cosine(a, b), moments.sign_agreement(a, b))
            for a, b in pairs
        ),
        moments.all_agree if len(names) > 2 else None,
    )


def _expert(relative_norm: float | None, ranks: Sequence[MatrixRank]) -> ExpertMeasures:
    found = [(rank.effective, rank.full) for rank in ranks if rank.effective is not None]
    if not found:
        return ExpertMeasures(relative_norm)
    return ExpertMeasures(
        relative_norm, fmean(rank for rank, _ in found), fmean(rank / full for rank, full in found)
    )
