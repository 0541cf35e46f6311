"""Whether a mean paired difference is more than chance."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Float64 = NDArray[np.float64]

LEVEL = 0.05
RANDOMISATIONS = 9999
EXACT = 13  # queries without a tie up to which all signings are tried: 2**13 < RANDOMISATIONS
BATCH = 500  # signings that are held at a time
SLACK = 1e-10  # of a sum, from float64 arithmetic


@dataclass(frozen=True)
class Difference:
    """A mean paired difference in nDCG@10 points, with its bootstrap interval and its test.

    Attributes:
        points: Mean difference.
        low: Lower end of the 95 % percentile interval over queries.
        high: Upper end.
        p: Two-sided p of the paired randomisation test; None where it was not run.
        p_holm: The same after Holm's correction over the tasks of one model against one reference; None for
            a mean over tasks, which is a question of its own.
        wins: Queries on which the model is better than the reference.
        ties: Queries on which both are the same.
        losses: Queries on which it is worse.
    """

    points: float
    low: float
    high: float
    p: float | None = None
    p_holm: float | None = None
    wins: int = 0
    ties: int = 0
    losses: int = 0

    @property
    def is_real(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.low > 0 or self.high < 0

    @property
    def is_significant(self) -> bool:
        """Whether p, corrected where there are several tasks, is below 0.05.

        >>> Difference(1.2, 0.1, 2.3, p=0.03, p_holm=0.12).is_significant
        False
        """
        p = self.p if self.p_holm is None else self.p_holm
        return p is not None and p < LEVEL


def signed_means(values: Float64, seed: int = 0) -> Float64:
    """Means of queries whose signs are drawn at random.

    If two models were the same, whose score is whose would be chance, and so would the sign of their
    difference (Fisher 1935; for retrieval Smucker, Allan and Carterette, CIKM 2007). All columns get the
    same signs, so the difference of two columns is a draw of the signed paired difference.

    Args:
        values: Shape (queries, columns).
        seed: Of the signs.

    Returns:
        Shape (RANDOMISATIONS, columns); the same every time.
    """
    queries = len(values)
    random = np.random.default_rng(seed)
    sizes = [min(BATCH, RANDOMISATIONS - start) for start in range(0, RANDOMISATIONS, BATCH)]
    kept = np.concatenate([_coins(random, size, queries) @ values for size in sizes])
    means: Float64 = (2 * kept - values.sum(axis=0)) / queries
    return means


def randomisation_p(groups: Sequence[Float64], null: Float64) -> float:
    """Two-sided p of the mean over groups of mean differences.

    Signs are drawn within each group, so groups are strata; with few queries all signings are tried.

    >>> randomisation_p([np.array([3.0, 1.0, 2.0, 0.0])], np.empty(0))  # 2 of the 8 signings are as far out
    0.25

    Args:
        groups: Paired differences of the queries of each group.
        null: Mean over the groups of `signed_means` of each, shape (RANDOMISATIONS,).

    Returns:
        A number above 0 and up to 1. What is observed counts as one of the draws, so it is never 0 (Phipson
        and Smyth 2010, arXiv 1603.05766).
    """
    shares = np.concatenate([group / (len(group) * len(groups)) for group in groups])
    shares = shares[shares != 0]
    least = abs(shares.sum()) - SLACK
    if len(shares) <= EXACT:
        return float((np.abs(_all_signings(len(shares)) @ shares) >= least).mean())
    return float((1 + (np.abs(null) >= least).sum()) / (1 + len(null)))


def holm(p_values: Sequence[float]) -> list[float]:
    """Corrected for asking several questions (Holm 1979, Scandinavian Journal of Statistics 6).

    The i-th smallest of m is multiplied by m - i + 1, and none is smaller than the one before it.

    >>> holm([0.04, 0.01, 0.03])
    [0.06, 0.03, 0.06]
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    corrected = np.empty_like(p)
    corrected[order] = np.maximum.accumulate((len(p) - np.arange(len(p))) * p[order])
    return [float(value) for value in np.minimum(corrected, 1)]


def corrected(differences: Sequence[Difference]) -> list[Difference]:
    """One model's differences to one reference on several tasks, each with `p_holm`.

    Args:
        differences: All of them tested.
    """
    corrected_p = holm([difference.p for difference in differences if difference.p is not None])
    return [
        replace(difference, p_holm=round(p, 6))
        for difference, p in zip(differences, corrected_p, strict=True)
    ]


def _coins(random: np.random.Generator, draws: int, queries: int) -> Float64:
    """Zeros and ones, shape (draws, queries)."""
    octets = random.integers(0, 256, (draws, -(-queries // 8)), dtype=np.uint8)
    return np.unpackbits(octets, axis=1, count=queries).astype(np.float64)


def _all_signings(queries: int) -> Float64:
    """Every assignment of plus and minus one, shape (2**queries, queries)."""
    coins = np.arange(2**queries)[:, None] >> np.arange(queries) & 1
    return np.where(coins, 1.0, -1.0)
