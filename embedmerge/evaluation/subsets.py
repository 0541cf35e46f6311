"""How often a merge beats the base when nobody chooses which experts go in."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from math import comb
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from embedmerge.errors import EmbedmergeError
from embedmerge.evaluation.scores import SIDES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from numpy.typing import NDArray

    from embedmerge.evaluation.scores import Side
    from embedmerge.evaluation.tasks import Task
    from embedmerge.retrieval.encoder import Encoder

    Float64 = NDArray[np.float64]
    Subset = tuple[int, ...]  # places of experts, the base being 0
    QualityOf = Callable[[Float64], dict[Side, Float64]]

MOST = 256  # subsets that are looked at before a sample is drawn


@dataclass(frozen=True)
class ProbabilityBetter:
    """How often something is better than the base.

    Attributes:
        better: How many of the subsets.
        subsets: Number of subsets.
        probability: Their share.
        low: Lower end of its 95 % Wilson interval.
        high: Upper end.
    """

    better: int
    subsets: int
    probability: float
    low: float
    high: float


@dataclass(frozen=True)
class SubsetStudy:
    """Merges of subsets of a pool of experts beside the base.

    Attributes:
        subsets: Names of the experts of each.
        every: Whether these are all there are, or a sample.
        gains: Side -> points on the base, subset by subset.
        probability_better: Side -> how often the merge beats the base; `both` for on both sides at once,
            where there are two.
    """

    subsets: tuple[tuple[str, ...], ...]
    every: bool
    gains: dict[Side, tuple[float, ...]]
    probability_better: dict[str, ProbabilityBetter]


class Landscape(Protocol):
    """Scores mixtures without encoding; `weighting.landscape.Landscape` is one."""

    def quality(self, weights: Float64) -> Any:
        """Quality with the `means` of mixtures, shape (mixtures, sources), as `target` and as `general`."""


def probability_better(gains: Sequence[float]) -> ProbabilityBetter:
    """Share of gains above zero, with its interval (Wilson 1927).

    >>> found = probability_better([0.4, 1.2, -0.3, 0.8])
    >>> found.better, found.probability, round(found.low, 2), round(found.high, 2)
    (3, 0.75, 0.3, 0.95)

    Args:
        gains: What each merge has over the base; at least one.
    """
    from scipy.stats import binomtest

    better = sum(gain > 0 for gain in gains)
    ends = binomtest(better, len(gains)).proportion_ci(method="wilson")
    return ProbabilityBetter(better, len(gains), better / len(gains), float(ends.low), float(ends.high))


def study_subsets(
    names: Sequence[str],
    quality: QualityOf,
    *,
    size: int | None = None,
    weigh: Callable[[Subset], Sequence[float]] | None = None,
    most: int = MOST,
    seed: int = 0,
) -> SubsetStudy:
    """Merge subsets of a pool of experts with the base, and count how often that beats the base.

    Args:
        names: Of the sources, base first.
        quality: Side -> points, shape (mixtures,), of weights of shape (mixtures, sources):
            `by_landscape` or `by_merging`.
        size: Experts in a subset; all sizes where None.
        weigh: Weights of the sources for a subset, with sum 1; base and experts alike where None.
        most: Subsets at most; of more than these a sample is drawn.
        seed: Of the sample.

    Raises:
        EmbedmergeError: There are fewer experts than a subset is to have.
    """
    experts = len(names) - 1
    sizes = range(1, experts + 1) if size is None else (size,)
    if not 1 <= min(sizes, default=0) <= max(sizes, default=0) <= experts:
        msg = f"subsets: {size or 'at least one'} of {experts} experts cannot be taken"
        raise EmbedmergeError(msg)
    chosen, every = _subsets(experts, sizes, most, seed)
    weights = [_alike(subset, experts) if weigh is None else weigh(subset) for subset in chosen]
    base = [1.0] + experts * [0.0]
    points = quality(np.array([base, *weights], dtype=np.float64))
    gains = {side: values[1:] - values[0] for side, values in points.items()}
    counted: dict[str, ProbabilityBetter] = {
        side: probability_better(values.tolist()) for side, values in gains.items()
    }
    if len(gains) > 1:
        counted["both"] = probability_better(np.min(list(gains.values()), axis=0).tolist())
    return SubsetStudy(
        tuple(tuple(names[place] for place in subset) for subset in chosen),
        every,
        {side: tuple(values.tolist()) for side, values in gains.items()},
        counted,
    )


def by_landscape(landscape: Landscape) -> QualityOf:
    """Approximate quality of all mixtures at once; bend the landscape's edges first for more than a hint."""

    def quality(weights: Float64) -> dict[Side, Float64]:
        found = landscape.quality(weights)
        return {side: getattr(found, side).means for side in SIDES}

    return quality


def by_merging(
    encoder_of: Callable[[Float64], AbstractContextManager[Encoder]], tasks: Sequence[Task]
) -> QualityOf:
    """True quality of mixtures that are merged and run one by one: mean nDCG@10 over each side's tasks.

    Args:
        encoder_of: Gives the encoder of a mixture from its weights, shape (sources,).
        tasks: Of either side, or of both.
    """
    from embedmerge.evaluation.scoring import score

    sides = [side for side in SIDES if any(task.side == side for task in tasks)]

    def points(weights: Float64) -> Iterator[float]:
        with encoder_of(weights) as encoder:
            found = [score(encoder, task) for task in tasks]
        for side in sides:
            yield float(np.mean([scores.ndcg_at_10 for scores in found if scores.side == side]))

    def quality(weights: Float64) -> dict[Side, Float64]:
        by_mixture = np.array([list(points(row)) for row in weights])
        return dict(zip(sides, by_mixture.T, strict=True))

    return quality


def _subsets(experts: int, sizes: Sequence[int], most: int, seed: int) -> tuple[list[Subset], bool]:
    """Subsets in order of size, and whether these are all."""
    if sum(comb(experts, size) for size in sizes) <= most:
        return [subset for size in sizes for subset in combinations(range(1, experts + 1), size)], True
    random = np.random.default_rng(seed)
    shares = np.array([comb(experts, size) for size in sizes], dtype=np.float64)
    drawn: dict[Subset, None] = {}
    while len(drawn) < most:
        size = int(random.choice(sizes, p=shares / shares.sum()))
        places = random.choice(experts, size, replace=False) + 1
        drawn[tuple(sorted(int(place) for place in places))] = None
    return sorted(drawn, key=lambda subset: (len(subset), subset)), False


def _alike(subset: Subset, experts: int) -> list[float]:
    """Weights of the plain average of the base and some experts."""
    taking = {0, *subset}
    return [float(place in taking) / len(taking) for place in range(experts + 1)]
