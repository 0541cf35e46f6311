"""Search by Optuna: the tree-structured Parzen estimator, or NSGA-II on both sides."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from embedmerge.weighting.search.library import optimiser
from embedmerge.weighting.search.searched import Searched

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from embedmerge.weighting.search.exploring import Optimiser
    from embedmerge.weighting.search.marks import Marks
    from embedmerge.weighting.search.space import Space

    Float64 = NDArray[np.float64]

Sampler = Literal["tpe", "nsga2"]

TOGETHER = 4  # points that TPE asks for before it hears of any
DRAWN = 10  # points at most that stand all over the space before a model of it is made
POPULATION = 50  # of NSGA-II at most
GENERATIONS = 5  # of NSGA-II at least


class Study(Searched):
    """Search by Optuna (Akiba et al. 2019, arXiv 1907.10902).

    `tpe` models where good and bad mixtures lie (Bergstra et al. 2011; Watanabe 2023, arXiv 2304.11127),
    the floor being a constraint. `nsga2` breeds the whole front of target and general quality (Deb et al.
    2002, doi:10.1109/4235.996017), whatever the floor, which only the choice has to be above; it wants
    hundreds of trials.

    Attributes:
        sampler: `tpe` or `nsga2`.
    """

    strategy: Literal["optuna"] = "optuna"
    sampler: Sampler = "tpe"

    library: ClassVar[str | None] = "optuna"

    def optimiser(self, space: Space, known: Float64, marks: Marks) -> Optimiser:
        """An Optuna study that has heard of what is known."""
        study = AskedStudy(space, self.sampler, self.trials, self.seed)
        study.add(known, marks)
        return study


class AskedStudy:
    """An Optuna study that is asked and told, batch by batch.

    Args:
        space: Where it looks.
        sampler: How.
        trials: How many points there will be, by which a population is measured.
        seed: Of every draw.
    """

    def __init__(self, space: Space, sampler: Sampler, trials: int, seed: int = 0) -> None:
        self._space = space
        self._several = sampler == "nsga2"
        population = min(POPULATION, max(TOGETHER, trials // GENERATIONS))
        self._together = population if self._several else TOGETHER
        first = population if self._several else min(DRAWN, max(TOGETHER, trials // 2))
        with _quiet() as optuna:
            samplers = optuna.samplers
            chosen = (
                samplers.NSGAIISampler(population_size=population, seed=seed)
                if self._several
                else samplers.TPESampler(n_startup_trials=first, seed=seed)
            )
            directions = ["maximize", "maximize"] if self._several else ["maximize"]
            self._study = optuna.create_study(directions=directions, sampler=chosen)
            self._shares = {
                f"x{place}": optuna.distributions.FloatDistribution(0, 1) for place in range(space.dimensions)
            }
        self._drawn = list(space.drawn(first, np.random.default_rng(seed)))
        self._open: list[Any] = []

    def add(self, known: Float64, marks: Marks) -> None:
        """Tell of points that it has not asked for."""
        with _quiet():
            self._open = [self._trial(coordinates) for coordinates in known]
        self.tell(known, marks)

    def ask(self) -> Float64:
        """The next batch, moved within bounds; at first from all over the space."""
        drawn, self._drawn = self._drawn[: self._together], self._drawn[self._together :]
        with _quiet():
            self._open = [self._trial(coordinates) for coordinates in drawn]
            self._open += [self._study.ask(self._shares) for _ in range(self._together - len(drawn))]
        asked = np.array([[trial.params[name] for name in self._shares] for trial in self._open])
        return self._space.repaired(asked)

    def tell(self, asked: Float64, marks: Marks) -> None:
        """Target, or both sides, of the whole batch."""
        with _quiet():
            for trial, target, general, margin in zip(
                self._open, marks.target, marks.general, marks.margin, strict=True
            ):
                if self._several:
                    self._study.tell(trial, [float(target), float(general)])
                    continue
                trial.set_constraint("floor", -float(margin))
                self._study.tell(trial, float(target))

    def _trial(self, coordinates: Float64) -> Any:
        self._study.enqueue_trial(dict(zip(self._shares, map(float, coordinates), strict=True)))
        return self._study.ask(self._shares)


@contextmanager
def _quiet() -> Iterator[Any]:
    """Optuna, saying nothing but warnings for as long as the context is open."""
    optuna = optimiser("optuna")
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield optuna
    finally:
        optuna.logging.set_verbosity(before)
