"""Whether a model bears bfloat16: a check that needs no labels."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Of the spread of a query's similarities. Where every similarity moves at random by so much, nDCG@10 over
# 300 queries moves by about 0.1 points (eval/results/encode.md).
TOLERANCE = 0.0075


@dataclass(frozen=True)
class Agreement:
    """How far bfloat16 moves a model's similarities.

    Attributes:
        noise: Standard deviation of what similarities move by, as a share of the spread of a query's
            similarities to all passages; None where bfloat16 gives NaN or infinity.
    """

    noise: float | None

    @property
    def holds(self) -> bool:
        """Whether rankings stay what they are."""
        return self.noise is not None and self.noise <= TOLERANCE

    @classmethod
    def of(cls, exact: NDArray[np.float32], short: NDArray[np.float32]) -> Agreement:
        """Compare two embeddings of the same texts, queries first, then as many passages.

        Args:
            exact: In float32, shape (2 * queries, dimension).
            short: In bfloat16.

        >>> vectors = np.eye(4, dtype=np.float32)[[0, 1, 0, 1]]
        >>> Agreement.of(vectors, vectors)
        Agreement(noise=0.0)
        """
        if not np.isfinite(short).all():
            return cls(None)
        truth, found = _similarities(exact), _similarities(short)
        moved = found - truth
        spread = float(truth.std(axis=1).mean())
        # What moves a query's similarities all alike moves no ranking.
        noise = float((moved - moved.mean(axis=1, keepdims=True)).std())
        return cls(round(noise / max(spread, 1e-12), 6))

    def as_json(self) -> dict[str, Any]:
        """For the cache."""
        return asdict(self)

    def __str__(self) -> str:
        if self.noise is None:
            return "bfloat16 gives NaN or infinity"
        verdict = "at most" if self.holds else "more than"
        return (
            f"bfloat16 moves similarities by {100 * self.noise:.2g} % of their spread ({verdict} "
            f"{100 * TOLERANCE:.2g} %)"
        )


def _similarities(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    queries, passages = np.split(vectors.astype(np.float64), 2)
    similarities: NDArray[np.float64] = queries @ passages.T
    return similarities


def probe_texts() -> tuple[list[str], list[str]]:
    """Queries and as many passages, from one sentence to eight, in an order that is always the same."""
    lines = resources.files("embedmerge.retrieval").joinpath("probe.tsv").read_text("utf-8").splitlines()
    queries, passages = zip(*(line.split("\t") for line in lines), strict=True)
    return list(queries), [" ".join(passages[row : row + 1 + row % 8]) for row in range(len(passages))]
