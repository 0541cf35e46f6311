"""The dialogue with an optimiser: it asks for points, and is told their marks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from embedmerge.weighting.search.marks import Marks

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from embedmerge.weighting.guarded import Judge
    from embedmerge.weighting.quality import Quality
    from embedmerge.weighting.search.space import Point, Space

    Float64 = NDArray[np.float64]
    Look = Callable[[Sequence[Point]], Quality]


class Optimiser(Protocol):
    """Asks for points of a space; given the same marks, it always asks for the same."""

    def ask(self) -> Float64:
        """Coordinates to look at next, shape (points, dimensions); no points where it is done."""

    def tell(self, asked: Float64, marks: Marks) -> None:
        """What came of them.

        Args:
            asked: As `ask` gave them, in its order.
            marks: Of these.
        """


class Make(Protocol):
    """Makes an optimiser."""

    def __call__(self, space: Space, known: Float64, marks: Marks) -> Optimiser:
        """The optimiser of a space.

        Args:
            space: Where it looks.
            known: Coordinates that were looked at before, shape (points, dimensions).
            marks: Of these.
        """


def explore(make: Make, space: Space, look: Look, judge: Judge, trials: int) -> list[Point]:
    """Points that were looked at: base, uniform average and every expert, then what an optimiser asks for.

    Args:
        make: Makes the optimiser.
        space: Where it looks.
        look: Gives the quality of points on all queries, by the objective.
        judge: Sees the queries that choosing may look at.
        trials: Points at most besides the base; asking for a point again counts too.

    Returns:
        Each point once, in the order in which they were first asked for.
    """
    known = space.landmarks[: trials + 1] if space.experts else space.landmarks[:1]
    points = [space.point(coordinates) for coordinates in known]
    marks = Marks.of(judge, look(points))
    left = trials - len(points) + 1
    if not space.experts or not left:
        return points
    optimiser = make(space, known, marks)
    while left and len(asked := optimiser.ask()[:left]):
        new = [space.point(coordinates) for coordinates in asked]
        quality = look(new)
        points += new
        left -= len(asked)
        if left:
            optimiser.tell(asked, Marks.of(judge, quality))
    return list({point.key: point for point in points}.values())
