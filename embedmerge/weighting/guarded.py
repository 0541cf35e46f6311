"""Strategies that weigh the target against the general side, and say how sure they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field, field_validator

from embedmerge.errors import EmbedmergeError
from embedmerge.merging.registry import affine_methods
from embedmerge.merging.registry import method as find_method
from embedmerge.weighting.examples import refuse_evaluated
from embedmerge.weighting.ground import Measure  # noqa: TC001 - pydantic reads it
from embedmerge.weighting.guard import Guard
from embedmerge.weighting.simplex import spread
from embedmerge.weighting.strategy import Choice, Evidence, MethodChoice, OnExamples

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from embedmerge.weighting.landscape import Landscape
    from embedmerge.weighting.quality import Quality

    Float64 = NDArray[np.float64]
    Rows = NDArray[np.int64]


class Guarded(OnExamples):
    """A strategy that sees target quality on examples and general quality on a guard.

    Attributes:
        guard: What general quality is measured on, and how much of it may go.
        objective: What is best at the choice: `loss`, the least InfoNCE loss on the examples, which tells
            mixtures apart where ranks are still the same; `ndcg_at_10` or `recall_at_100`.
        bounds: Lowest and highest weight of a source.
        most_examples: Examples at most; a seeded draw of more.
        tolerance: Points of a retrieval measure that the confirmed choice may be off what was expected; of
            the loss 0.02 nats, of a divergence a fifth of its budget.
        rounds: Mixtures that are really encoded at most to confirm a choice.
    """

    guard: Guard = Guard()
    objective: Measure = "loss"
    bounds: tuple[float, float] = (0.0, 1.0)
    most_examples: int = Field(default=1000, ge=1)
    tolerance: float = Field(default=0.5, gt=0)
    rounds: int = Field(default=3, ge=1)

    @field_validator("bounds")
    @classmethod
    def _around_the_simplex(cls, bounds: tuple[float, float]) -> tuple[float, float]:
        if not (-1 <= bounds[0] <= 0 and 1 <= bounds[1] <= 2):
            msg = (
                f"bounds: {bounds[0]:g} to {bounds[1]:g}; the lowest is from -1 to 0, the highest from 1 to 2"
            )
            raise EmbedmergeError(msg)
        return bounds

    def require_consistent(self, names: Sequence[str], method: MethodChoice | None = None) -> None:
        """The method has to be one whose result is a weighted sum of the sources."""
        if method is None or method.is_affine:
            return
        if not find_method(method.name).affine:
            msg = (
                f"strategy {self.strategy}: chooses weights of a weighted sum, with method "  # type: ignore[attr-defined]
                f"{affine_methods()}; for {method.name} search with cma, optuna or map"
            )
            raise EmbedmergeError(msg)
        msg = "method.parameters: clamp makes it no weighted sum; search with cma, optuna or map"
        raise EmbedmergeError(msg)

    def reads(self) -> dict[str, str]:
        """The digest of the guard's texts and labels."""
        return {"guard": self.guard.sha256(test_data=self.may_see_test_data)}

    def require_untested(self, evaluated: Mapping[str, Iterable[str]]) -> None:
        """The guard's tasks are not to be reported on."""
        if self.guard.tasks and not self.may_see_test_data:
            queries = (query for ground in self.guard.grounds() for query in ground.queries)
            refuse_evaluated("guard", queries, evaluated)

    def pick(self, judge: Judge) -> Float64:
        """Weights by what a judge says, shape (sources,): the best of `points`.

        Args:
            judge: Sees the queries that choosing may look at, and no others.
        """
        points = self.points(judge)
        best: Float64 = points[judge.best(points)]
        return best

    def points(self, judge: Judge) -> Float64:
        """Mixtures that stand for the whole simplex, shape (points, sources)."""
        return judge.within(spread(len(judge.live), self.bounds, self.seed))

    def choose(self, evidence: Evidence) -> Choice:
        """Encode examples and guard with sources and midpoints, choose, and confirm by a true merge.

        Raises:
            EmbedmergeError: Examples or guard do not allow a choice, or a source's embeddings are broken.
        """
        from embedmerge.weighting.account import account
        from embedmerge.weighting.survey import Survey

        return account(Survey(self, evidence))


class Judge:
    """Values mixtures by some of the queries.

    Args:
        landscape: Of all queries.
        guard: The floor of general quality.
        objective: What target quality is.
        live: Places of the sources that may get a weight.
        target: Rows of the target queries that count.
        general: Rows of the general queries that count.
    """

    def __init__(
        self,
        landscape: Landscape,
        guard: Guard,
        objective: Measure,
        live: list[int],
        target: Rows,
        general: Rows,
    ) -> None:
        self.landscape = landscape
        self.guard = guard
        self.objective = objective
        self.live = live
        self.rows = (target, general)
        self._base = self.quality(np.eye(len(landscape.names))[:1])

    def quality(self, points: Float64) -> Quality:
        """Quality of mixtures on the queries that count: the objective, and the guard's measure.

        Args:
            points: Shape (mixtures, sources).
        """
        return self.restricted(self.landscape.quality(points, self.objective))

    def slope(self, weights: Float64) -> tuple[Float64, Float64]:
        """Mean target and general value of one mixture on the queries that count, and their derivatives.

        The differentiable values: minus the loss, and on unlabelled text minus the divergence from the base.

        Args:
            weights: Shape (sources,).

        Returns:
            Values of shape (2,), target first, and derivatives by the weights of shape (2, sources).
        """
        return self.landscape.slope(weights, "loss", self.rows)

    def restricted(self, whole: Quality) -> Quality:
        """The part of a quality that this judge sees."""
        return whole.of_rows(*self.rows)

    def above_floor(self, quality: Quality) -> NDArray[np.bool_]:
        """Which mixtures keep general quality, shape (mixtures,)."""
        return self.margins(quality) >= 0

    def margins(self, quality: Quality) -> Float64:
        """How far mixtures are above the floor, shape (mixtures,)."""
        return self.guard.margins(quality.general, self._base.general)

    def best(self, points: Float64) -> int:
        """Place of the mixture with the best target above the floor; of equals, the best general side's.

        Raises:
            EmbedmergeError: None is above the floor.
        """
        quality = self.quality(points)
        return best_above(quality.target.means, quality.general.means, self.margins(quality))

    def within(self, points: Float64) -> Float64:
        """Weights of all sources from those of the live ones, shape (points, sources)."""
        whole = np.zeros((len(points), len(self.landscape.names)))
        whole[:, self.live] = points
        return whole


def best_above(target: Float64, general: Float64, margins: Float64) -> int:
    """Place of the best target above the floor; of equals, the best general side's.

    >>> best_above(np.array([3.0, 2.0, 2.0]), np.array([0.0, 1.0, 2.0]), np.array([-1.0, 0.0, 0.0]))
    2

    Args:
        target: Shape (mixtures,).
        general: Shape (mixtures,).
        margins: How far each is above the floor, shape (mixtures,).

    Raises:
        EmbedmergeError: None is above the floor.
    """
    above = np.flatnonzero(margins >= 0)
    if not above.size:
        msg = "guard: no mixture is above the floor of general quality, not even the base; check it"
        raise EmbedmergeError(msg)
    return int(above[np.lexsort((general[above], target[above].round(9)))[-1]])
