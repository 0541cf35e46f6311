"""What an optimiser hears of mixtures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from embedmerge.weighting.guarded import best_above

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from embedmerge.weighting.guarded import Judge
    from embedmerge.weighting.quality import Quality

    Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class Marks:
    """Some mixtures by the queries that choosing may look at.

    Attributes:
        target: Means of the objective, shape (mixtures,), higher being better.
        general: Means of the general side, likewise.
        margin: How far each is above the floor; below it where negative.
    """

    target: Float64
    general: Float64
    margin: Float64

    @classmethod
    def of(cls, judge: Judge, quality: Quality) -> Marks:
        """A judge's marks for a quality on all queries."""
        seen = judge.restricted(quality)
        return cls(seen.target.means, seen.general.means, judge.margins(seen))

    @property
    def above(self) -> NDArray[np.bool_]:
        """Which mixtures keep general quality."""
        return self.margin >= 0

    @property
    def best(self) -> int:
        """Place of the best target above the floor; of equals, the best general side's.

        Raises:
            EmbedmergeError: None is above it.
        """
        return best_above(self.target, self.general, self.margin)

    def joined(self, others: Marks) -> Marks:
        """These and others."""
        return Marks(
            np.concatenate([self.target, others.target]),
            np.concatenate([self.general, others.general]),
            np.concatenate([self.margin, others.margin]),
        )
