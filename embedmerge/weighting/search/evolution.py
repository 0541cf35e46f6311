"""Search by CMA-ES."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from embedmerge.weighting.search.library import optimiser
from embedmerge.weighting.search.searched import Searched

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from embedmerge.weighting.search.exploring import Optimiser
    from embedmerge.weighting.search.marks import Marks
    from embedmerge.weighting.search.space import Space

    Float64 = NDArray[np.float64]


class Evolution(Searched):
    """Search by the covariance matrix adaptation evolution strategy (Hansen 2016, arXiv 1604.00772).

    The first mean is the best of base, uniform average and every expert, with the parameters' own start.
    Points beyond the bounds are moved to the nearest within, looked at there, and told as they were looked at
    (Hansen 2011, arXiv 1110.4181). A mixture below the floor ranks behind all above it, those below by how
    far they are (Deb 2000, doi:10.1016/S0045-7825(99)00389-8): CMA-ES sees nothing but ranks, so no weight
    of a penalty has to be chosen. When a run has converged, another one starts at random with twice the
    population (Auger and Hansen 2005, doi:10.1109/CEC.2005.1554902).

    Attributes:
        sigma: First standard deviation, as a share of each range.
        population: Mixtures of a generation; 4 + 3 ln(dimensions), rounded down, where None.
    """

    strategy: Literal["cma"] = "cma"
    sigma: float = Field(default=1 / 6, gt=0, le=1)
    population: int | None = Field(default=None, ge=4)

    library: ClassVar[str | None] = "cma"

    def optimiser(self, space: Space, known: Float64, marks: Marks) -> Optimiser:
        """CMA-ES from the best of what is known."""
        return Generations(space, known[fitness(marks).argmin()], self.sigma, self.population, self.seed)


class Generations:
    """CMA-ES, generation by generation.

    Args:
        space: Where it looks.
        mean: Where it starts, shape (dimensions,).
        sigma: First standard deviation.
        population: Points of a generation; the library's own number where None.
        seed: Of every draw.
    """

    def __init__(
        self, space: Space, mean: Float64, sigma: float, population: int | None = None, seed: int = 0
    ) -> None:
        self._space = space
        self._sigma = sigma
        self._generator = np.random.default_rng(seed)
        self._run = self._started(mean, population)

    def ask(self) -> Float64:
        """The next generation."""
        if self._run.stop():
            anywhere = self._space.drawn(1, self._generator)[0]
            self._run = self._started(anywhere, 2 * self._run.popsize)
        return self._space.repaired(np.array(self._run.ask()))

    def tell(self, asked: Float64, marks: Marks) -> None:
        """Ranks of a whole generation."""
        self._run.tell(list(asked), fitness(marks).tolist())

    def _started(self, mean: Float64, population: int | None) -> Any:
        options = {
            "bounds": [0, 1],
            "randn": lambda *shape: self._generator.standard_normal(shape),
            "seed": np.nan,  # it would be that of numpy's one generator for all
            "verbose": -9,
            **({"popsize": population} if population else {}),
        }
        return optimiser("cma").CMAEvolutionStrategy(mean, self._sigma, options)


def fitness(marks: Marks) -> Float64:
    """What is minimised: minus the target above the floor; below it the worst of these plus the shortfall.

    >>> from embedmerge.weighting.search.marks import Marks
    >>> target, margin = np.array([70.0, 60.0, 80.0]), np.array([0.1, 0.0, -0.5])
    >>> fitness(Marks(target, target, margin))
    array([-70. , -60. , -59.5])
    """
    worst = max(-marks.target[marks.above], default=0.0)
    return np.where(marks.above, -marks.target, worst + np.maximum(-marks.margin, 0))
