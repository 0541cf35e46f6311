"""How far two retrievers rank the same documents first."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True)
class Agreement:
    """Rankings beside those of another retriever.

    Attributes:
        first_ten: Percent of the other's first ten documents that are among these first ten, mean over
            queries.
        first: Percent of the queries with the same first document.
    """

    first_ten: float
    first: float

    @classmethod
    def of(cls, own: Mapping[str, Sequence[str]], other: Mapping[str, Sequence[str]]) -> Agreement:
        """Compare rankings by query.

        >>> Agreement.of({"q": ["a", "b"]}, {"q": ["b", "c"]})
        Agreement(first_ten=50.0, first=0.0)

        Args:
            own: Query -> ids, best first.
            other: The same of the other retriever.
        """
        pairs = [(own.get(query, ())[:10], ranked[:10]) for query, ranked in other.items() if ranked]
        if not pairs:
            return cls(0.0, 0.0)
        shared = fmean(len(set(mine) & set(theirs)) / len(theirs) for mine, theirs in pairs)
        same = fmean(float(bool(mine) and mine[0] == theirs[0]) for mine, theirs in pairs)
        return cls(round(100 * shared, 2), round(100 * same, 2))
