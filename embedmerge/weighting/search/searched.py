"""What all searches have in common: settings, checks, and whether mixtures are merged or approximated."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from pydantic import Field

from embedmerge.errors import EmbedmergeError
from embedmerge.merging.registry import affine_methods
from embedmerge.weighting.guarded import Guarded
from embedmerge.weighting.search.exploring import explore
from embedmerge.weighting.search.library import require_installed
from embedmerge.weighting.search.ranges import ranges_of
from embedmerge.weighting.search.space import Space
from embedmerge.weighting.strategy import MethodChoice

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from embedmerge.weighting.guarded import Judge
    from embedmerge.weighting.quality import Quality
    from embedmerge.weighting.search.exploring import Optimiser
    from embedmerge.weighting.search.marks import Marks
    from embedmerge.weighting.search.space import Point
    from embedmerge.weighting.strategy import Choice, Evidence

    Float64 = NDArray[np.float64]


class Searched(Guarded):
    """Weights, and parameters of any method, of the best target above the floor among mixtures looked at.

    A true evaluation merges and encodes, and is kept in a journal: a search that was killed goes on where
    it was and ends in the same choice. A surrogate evaluation costs next to nothing, so such a search keeps
    no journal; its choice is confirmed by a true merge as that of every guarded strategy.

    Attributes:
        space: Lowest and highest value of parameters of the method, by name, `scale`, `lines`, `lines_top`
            and `clamp` among them. The search starts at what the method's parameters say of them.
        trials: Mixtures that are looked at, at most.
        evaluation: `true` to merge and encode each; `surrogate` to approximate it from encodings of the
            sources, for a weighted sum without `space`; `auto` for the surrogate where it holds.
        workers: Mixtures that are encoded at the same time; each holds a model.
        journal: File of the true evaluations; a run keeps one in its own folder.
    """

    space: dict[str, tuple[float, float]] = Field(default_factory=dict)
    trials: int = Field(default=60, ge=1)
    evaluation: Literal["auto", "true", "surrogate"] = "auto"
    workers: int = Field(default=1, ge=1)
    journal: str | None = None

    library: ClassVar[str | None] = None

    @abstractmethod
    def optimiser(self, space: Space, known: Float64, marks: Marks) -> Optimiser:
        """What asks for the points of a space, as `exploring.Make`."""

    def require_consistent(self, names: Sequence[str], method: MethodChoice | None = None) -> None:
        """The library is there, and the method has what is searched.

        Raises:
            EmbedmergeError: A library is missing, a parameter unknown, a range empty or beyond what the
                method allows, or the surrogate does not hold for it.
        """
        if self.library:
            require_installed(self.library)
        method = method or MethodChoice()
        ranges_of(self.space, method, names)
        if self.evaluation == "surrogate" and not self._is_affine(method):
            msg = (
                f"evaluation: the surrogate holds for {affine_methods()} without clamp and without "
                f"`space`; take `true` for {method.name} here"
            )
            raise EmbedmergeError(msg)

    def choose(self, evidence: Evidence) -> Choice:
        """Search, and account for what was found.

        Raises:
            EmbedmergeError: Examples or guard do not allow a choice, a source's embeddings are broken, a
                mixture cannot be merged, or the journal is another search's.
        """
        from embedmerge.weighting.account import account
        from embedmerge.weighting.search.tried import Tried

        self.require_consistent(evidence.names, evidence.method)
        if self.evaluation != "true" and self._is_affine(evidence.method):
            return super().choose(evidence)
        return account(Tried(self, evidence))

    def points(self, judge: Judge) -> Float64:
        """Mixtures that a search by the surrogate looks at, shape (points, sources)."""
        space = Space(len(judge.landscape.names), judge.live, self.bounds, {})

        def look(points: Sequence[Point]) -> Quality:
            weights = np.array([point.weights for point in points])
            return judge.landscape.quality(weights, judge.objective)

        found = explore(self.optimiser, space, look, judge, self.trials)
        return np.array([point.weights for point in found])

    def _is_affine(self, method: MethodChoice) -> bool:
        return method.is_affine and not self.space
