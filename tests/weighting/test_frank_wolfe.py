from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from five_sources import NAMES, ONE, OTHER, five_sources, landscape_of

from embedmerge.api import weigh
from embedmerge.errors import EmbedmergeError
from embedmerge.weighting.examples import load_examples
from embedmerge.weighting.frank_wolfe import FrankWolfe, Hill
from embedmerge.weighting.ground import Retrieval
from embedmerge.weighting.guard import Guard
from embedmerge.weighting.guarded import Judge
from embedmerge.weighting.pool import Pool

if TYPE_CHECKING:
    from pathlib import Path

    from five_sources import FiveSources

INSIDE = np.array([0.3, 0.25, 0.2, 0.15, 0.1])
SOME = [1, 2, 3, 5, 8, 13, 21, ONE, ONE + 4, ONE + 9]


@pytest.fixture(scope="module")
def five(base, make_expert) -> FiveSources:
    return five_sources(base, make_expert)


@pytest.fixture(scope="module")
def guarded_by_tasks(five: FiveSources, general_collection: Path) -> Judge:
    guard = Guard(tasks=(f"{general_collection}:dev",), floor=0.5)
    target = [Retrieval("examples", Pool.of_examples(load_examples(five.examples)))]
    landscape = landscape_of(five.folders, target, guard)
    sides = landscape.quality(np.eye(5)[:1])
    rows = (np.arange(len(sides.target.groups)), np.arange(len(sides.general.groups)))
    return Judge(landscape, guard, "ndcg_at_10", list(range(5)), *rows)


def test_slopes_agree_with_finite_differences_on_the_rows_that_count(five: FiveSources) -> None:
    judge = five.judge(target=SOME, general=range(0, 32, 3))
    values, slopes = judge.slope(INSIDE)
    quality = judge.quality(INSIDE[None])
    np.testing.assert_allclose(values, [quality.target.means[0], quality.general.means[0]], rtol=1e-5)
    step = 5e-3
    for vertex in np.eye(5):
        ends = np.stack([INSIDE + sign * step * (vertex - INSIDE) for sign in (1, -1)])
        quality = judge.quality(ends)
        for side, slope in zip((quality.target, quality.general), slopes, strict=True):
            numeric = (side.means[0] - side.means[1]) / (2 * step)
            assert slope @ (vertex - INSIDE) == pytest.approx(numeric, rel=0.02, abs=2e-3)


def test_slopes_of_all_rows_are_those_of_no_restriction(five: FiveSources) -> None:
    landscape, every = five.landscape, (np.arange(ONE + OTHER), np.arange(32))
    for whole, restricted in zip(landscape.slope(INSIDE), landscape.slope(INSIDE, rows=every), strict=True):
        np.testing.assert_allclose(whole, restricted, rtol=1e-6)
    _, of_some = landscape.slope(INSIDE, rows=(np.array(SOME), every[1]))
    _, of_all = landscape.slope(INSIDE)
    assert not np.allclose(of_some[0], of_all[0], rtol=0.01)
    np.testing.assert_allclose(of_some[1], of_all[1], rtol=1e-5)


@pytest.mark.parametrize("budget", [0.0, 0.02, 0.1, 10.0])
def test_the_walk_starts_from_the_base_and_stays_above_the_floor(five: FiveSources, budget: float) -> None:
    judge = five.judge(budget)
    visited = FrankWolfe(examples="").walked(judge).mixtures
    assert visited[0].tolist() == [1, 0, 0, 0, 0]
    assert (visited >= 0).all()
    np.testing.assert_allclose(visited.sum(axis=1), 1)
    slack = budget + judge.quality(visited).general.means
    assert slack.min() > -1e-4  # weights are cut to four decimals


@pytest.mark.parametrize("budget", [0.02, 0.1, 10.0])
def test_no_mixture_above_the_floor_is_much_better(five: FiveSources, budget: float) -> None:
    judge = five.judge(budget)
    visited = FrankWolfe(examples="").walked(judge).mixtures
    found = judge.quality(visited[[judge.best(visited)]]).target.means[0]
    random = np.random.default_rng(0)
    draws = np.vstack([random.dirichlet(np.full(5, spread), 1000) for spread in (0.3, 1.0)])
    shares = random.random((2000, 1))
    draws = np.vstack([draws, shares * np.eye(5)[0] + (1 - shares) * draws])
    rival = judge.quality(draws[[judge.best(draws)]]).target.means[0]
    base = judge.quality(np.eye(5)[:1]).target.means[0]
    assert found > rival - 2e-3
    assert found > base + 0.05


def test_the_first_step_is_towards_the_steepest_source(five: FiveSources) -> None:
    judge = five.judge()
    base = np.eye(5)[0]
    h = 1e-3
    nearby = judge.quality(base + h * (np.eye(5) - base)).target.means
    steepest = int(np.argmax(nearby - judge.quality(base[None]).target.means))
    first = FrankWolfe(examples="").walked(judge).mixtures[1]
    assert set(np.flatnonzero(first)) <= {0, steepest}
    hill = Hill(judge, 0.0, judge.live)
    step = hill.search(base, hill.slopes(base), steepest, 0)
    line = base + np.linspace(0, 1, 201)[:, None] * (np.eye(5)[steepest] - base)
    assert judge.quality(step.weights[None]).target.means[0] > judge.quality(line).target.means.max() - 1e-3


def test_the_penalty_finds_what_the_floor_would_hide(five: FiveSources) -> None:
    judge = five.judge(budget=0.05)
    strategy = FrankWolfe(examples="")
    course = strategy.walked(judge)
    first_walk, rate = strategy._walk(Hill(judge, 0.0, judge.live), np.eye(5)[0])
    best = judge.quality(course.mixtures[[judge.best(course.mixtures)]]).target.means[0]
    assert course.penalty > 0 < rate
    assert best > judge.quality(first_walk[-1][None]).target.means[0] + 5e-3
    # Slopes towards all sources that an optimum is made of are alike under the multiplier.
    _, (target, general) = judge.slope(course.mixtures[-1])
    slope = target + course.penalty * general
    made_of = course.mixtures[-1] > 0.05
    assert np.ptp(slope[made_of]) < 0.25 * np.ptp(target[made_of])


@pytest.mark.parametrize("objective", ["loss", "ndcg_at_10"])
@pytest.mark.parametrize("budget", [0.05, 10.0])
def test_pure_noise_ends_at_exactly_0(five: FiveSources, objective: str, budget: float) -> None:
    judge = five.judge(budget, objective)
    weights = FrankWolfe(examples="").pick(judge)
    assert weights[3] == weights[4] == 0
    assert weights[1] + weights[2] > 0.5
    assert (weights >= 0).all()
    assert weights.sum() == pytest.approx(1)
    quality = judge.quality(np.stack([np.eye(5)[0], weights]))
    assert judge.above_floor(quality)[1]
    assert quality.target.means[1] > quality.target.means[0]


def test_leaving_experts_out_costs_no_more_than_the_margin(five: FiveSources) -> None:
    judge = five.judge()
    for margin in (0.0, 1.0, 3.0):
        lighter = FrankWolfe(examples="", margin=margin).pruned(judge, INSIDE)
        values = judge.quality(np.stack([INSIDE, lighter])).target.values
        parts = np.split(values[1] - values[0], [ONE])
        error = np.sqrt(parts[0].var(ddof=1) / ONE + parts[1].var(ddof=1) / OTHER) / 2
        assert (parts[0].mean() + parts[1].mean()) / 2 >= -margin * error - 1e-6
        assert lighter[3] == lighter[4] == 0
    assert FrankWolfe(examples="", margin=1e6).pruned(judge, INSIDE).tolist() == [1, 0, 0, 0, 0]


def test_an_expert_of_next_to_no_weight_is_left_out_whatever_it_adds(five: FiveSources) -> None:
    judge = five.judge(target=range(ONE))
    lighter = FrankWolfe(examples="", margin=0).pruned(judge, np.array([0.992, 0.008, 0, 0, 0]))
    assert lighter.tolist() == [1, 0, 0, 0, 0]


def test_the_same_evidence_gives_the_same_weights(five: FiveSources) -> None:
    first, second = (FrankWolfe(examples="").pick(five.judge(budget=0.1)) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_lost_sources_are_not_walked_towards(five: FiveSources) -> None:
    visited = FrankWolfe(examples="").walked(five.judge(live=[0, 2, 3, 4])).mixtures
    assert not visited[:, 1].any()
    assert visited[:, 2].any()


def test_tasks_may_be_the_guard(guarded_by_tasks: Judge) -> None:
    judge = guarded_by_tasks
    strategy = FrankWolfe(examples="")
    visited, weights = strategy.walked(judge).mixtures, strategy.pick(judge)
    quality = judge.quality(np.stack([np.eye(5)[0], weights]))
    differences = quality.general.values[1] - quality.general.values[0]
    error = differences.std(ddof=1) / np.sqrt(len(differences))
    assert differences.mean() >= -0.5 * error - 1e-9
    assert quality.target.means[1] > quality.target.means[0] + 5
    assert visited[0].tolist() == [1, 0, 0, 0, 0]
    assert weights[3] == weights[4] == 0


def test_weighing_by_it(five: FiveSources) -> None:
    guard = Guard(text=str(five.text), budget=0.1)
    strategy = FrankWolfe(examples=str(five.examples), guard=guard, objective="loss", rounds=1)
    choice = weigh(five.specs, strategy)
    weights = choice.coefficients.weights
    assert list(weights) == NAMES
    assert sum(weights.values()) == pytest.approx(1)
    assert all(weight >= 0 for weight in weights.values())
    assert weights["second"] > 0.1
    assert choice.selection.strategy == "frank_wolfe"


def test_bounds_other_than_those_of_an_average_are_refused() -> None:
    with pytest.raises(EmbedmergeError, match="this strategy averages"):
        FrankWolfe(examples="few.jsonl", bounds=(-1.0, 1.0))
