from __future__ import annotations

import logging
import warnings

import numpy as np
import pytest

from embedmerge.weighting.search.evolution import Evolution, fitness
from embedmerge.weighting.search.marks import Marks
from embedmerge.weighting.search.quadratic import Fits, Quadratic, Quadratics, samples_for
from embedmerge.weighting.search.ranges import Range
from embedmerge.weighting.search.searched import Searched
from embedmerge.weighting.search.space import Space
from embedmerge.weighting.search.study import Study
from embedmerge.weighting.simplex import undominated

SPACE = Space(3, [0, 1, 2], (0.0, 1.0), {"density": Range(0.0, 1.0, 0.5)})
BEST = np.array([0.6, 0.2, 0.3])
STRATEGIES = [
    Evolution(examples="none", seed=3),
    Study(examples="none", seed=3),
    Study(examples="none", seed=3, sampler="nsga2", trials=150),
    Quadratics(examples="none", seed=3, trials=30),
]


def bowl(points: np.ndarray) -> Marks:
    """A target that is best at `BEST`, which the floor allows, and not much beyond it."""
    target = 80 - 50 * ((points - BEST) ** 2).sum(axis=1)
    return Marks(target, -points[:, 0], 0.62 - points[:, 0])


def searched(strategy: Searched, marks=bowl, space: Space = SPACE) -> tuple[np.ndarray, Marks]:
    """Everything that was looked at."""
    points = space.landmarks
    found = marks(points)
    optimiser = strategy.optimiser(space, points, found)
    while len(points) <= strategy.trials:
        asked = optimiser.ask()[: strategy.trials + 1 - len(points)]
        if not len(asked):
            break
        heard = marks(asked)
        points, found = np.vstack([points, asked]), found.joined(heard)
        if len(points) <= strategy.trials:
            optimiser.tell(asked, heard)
    return points, found


@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda each: getattr(each, "sampler", each.strategy))
def test_the_best_above_the_floor_is_found_and_found_again(strategy: Searched) -> None:
    points, marks = searched(strategy)
    np.testing.assert_allclose(points, SPACE.repaired(points), atol=1e-9)
    assert marks.margin[marks.best] >= 0
    assert marks.target[marks.best] > 79.3  # the best landmark has 73.6, of 60 draws the best 79.0 on average
    np.testing.assert_array_equal(searched(strategy)[0], points)


def test_nothing_is_said_and_numpys_own_generator_is_left_alone(capsys, caplog) -> None:
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    with warnings.catch_warnings(), caplog.at_level(logging.INFO):
        warnings.simplefilter("error")
        for strategy in STRATEGIES:
            searched(strategy.model_copy(update={"trials": 16}))
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002
    assert capsys.readouterr() == ("", "")


def test_cma_ranks_what_is_below_the_floor_behind_by_how_far() -> None:
    marks = Marks(np.array([10.0, 90.0, 20.0, 95.0]), np.zeros(4), np.array([0.0, -2.0, 1.0, -1.0]))
    assert np.argsort(fitness(marks)).tolist() == [2, 0, 3, 1]
    nowhere = Marks(np.array([10.0, 90.0]), np.zeros(2), np.array([-1.0, -2.0]))
    assert np.argsort(fitness(nowhere)).tolist() == [0, 1]


def test_cma_goes_on_elsewhere_when_it_has_converged() -> None:
    def flat(points: np.ndarray) -> Marks:
        return Marks(np.zeros(len(points)), np.zeros(len(points)), np.ones(len(points)))

    strategy = Evolution(examples="none", trials=200)
    assert len(searched(strategy, flat)[0]) == 201


def test_nsga2_finds_a_front_that_no_draw_beats_by_much() -> None:
    _, marks = searched(STRATEGIES[2])
    front = undominated(marks.target, marks.general)
    assert len(front) > 10
    drawn = bowl(SPACE.drawn(2000, np.random.default_rng(1)))
    far = [
        ((marks.target[front] < target - 3) | (marks.general[front] < general - 0.1)).all()
        for target, general in zip(drawn.target, drawn.general, strict=True)
    ]
    assert np.mean(far) < 0.01


@pytest.mark.parametrize("dimensions", [1, 2, 4])
def test_a_quadratic_is_recovered_as_an_independent_solution_has_it(dimensions: int) -> None:
    random = np.random.default_rng(dimensions)
    matrix = random.normal(size=(dimensions, dimensions))
    slope = random.normal(size=dimensions)

    def surface(points: np.ndarray) -> np.ndarray:
        return 3 + points @ slope + np.einsum("pi,ij,pj->p", points, matrix, points)

    points = random.random((samples_for(dimensions), dimensions))
    noise = 0.1 * random.normal(size=len(points))
    elsewhere = random.random((50, dimensions))
    np.testing.assert_allclose(
        Quadratic.fitted(points, surface(points))(elsewhere), surface(elsewhere), atol=5e-3
    )
    # All products, twice where mixed, by the normal equations: another basis and another solver.
    whole, there = (
        np.hstack([np.ones((len(each), 1)), each, np.einsum("pi,pj->pij", each, each).reshape(len(each), -1)])
        for each in (points, elsewhere)
    )
    wanted = there @ (np.linalg.pinv(whole.T @ whole) @ whole.T @ (surface(points) + noise))
    found = Quadratic.fitted(points, surface(points) + noise)(elsewhere)
    np.testing.assert_allclose(found, wanted, atol=5e-3)


def test_map_samples_first_and_stays_in_their_box() -> None:
    known = SPACE.landmarks
    fits = Fits(SPACE, known, bowl(known), trials=30)
    asked = fits.ask()
    assert len(known) + len(asked) == 20
    fits.tell(asked, bowl(asked))
    samples = np.vstack([known, asked])
    promising = fits.ask()
    assert (promising >= samples.min(axis=0)).all()
    assert (promising <= samples.max(axis=0)).all()
    distances = np.abs(promising[:, None] - np.vstack([samples, promising])).max(axis=2)
    assert (np.sort(distances, axis=1)[:, 1] >= 0.01).all()  # the nearest being each itself
    np.testing.assert_allclose(promising[0], BEST, atol=0.02)
