from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from five_sources import NAMES, ONE, OTHER, five_sources

from embedmerge.api import weigh
from embedmerge.errors import EmbedmergeError
from embedmerge.weighting.greedy import Greedy
from embedmerge.weighting.guard import Guard

if TYPE_CHECKING:
    from five_sources import FiveSources

    from embedmerge.weighting.guarded import Judge


@pytest.fixture(scope="module")
def five(base, make_expert) -> FiveSources:
    return five_sources(base, make_expert)


def mean_of(ingredients: list[int]) -> np.ndarray:
    return np.mean([np.eye(5)[place] for place in ingredients], axis=0)


def gain(judge: Judge, soup: list[int], place: int) -> tuple[float, float]:
    """Mean paired difference over the two grounds of examples, and its standard error."""
    now, then = (judge.quality(mean_of(each)[None]).target.values[0] for each in (soup, [*soup, place]))
    parts = np.split(then - now, [ONE])
    error = np.sqrt(parts[0].var(ddof=1) / ONE + parts[1].var(ddof=1) / OTHER) / 2
    return (parts[0].mean() + parts[1].mean()) / 2, error


def divergence(judge: Judge, soup: list[int]) -> float:
    return -judge.quality(mean_of(soup)[None]).general.values[0].mean()


@pytest.mark.parametrize("margin", [0.0, 1.0, 2.5])
@pytest.mark.parametrize("budget", [0.05, 0.1, 10.0])
def test_the_soup_is_that_of_the_recipe(five: FiveSources, margin: float, budget: float) -> None:
    judge = five.judge(budget)
    order = sorted(range(5), key=lambda place: -judge.quality(np.eye(5)[[place]]).target.means[0])
    soup = [next(place for place in order if divergence(judge, [place]) <= budget)]
    size = 0
    while size < len(soup):
        size = len(soup)
        for place in order:
            mean, error = gain(judge, soup, place)
            if len(soup) < 6 and mean > margin * error + 1e-6 and divergence(judge, [*soup, place]) <= budget:
                soup.append(place)
    strategy = Greedy(examples="", margin=margin, most=6)
    assert strategy.ingredients(judge) == soup
    np.testing.assert_allclose(strategy.pick(judge), mean_of(soup), atol=1e-4)


@pytest.mark.parametrize("objective", ["loss", "ndcg_at_10"])
@pytest.mark.parametrize("budget", [0.0, 0.01, 0.05, 0.2])
def test_the_soup_is_above_the_floor(five: FiveSources, objective: str, budget: float) -> None:
    judge = five.judge(budget, objective)
    weights = mean_of(Greedy(examples="", margin=0).ingredients(judge))
    assert judge.above_floor(judge.quality(weights[None]))[0]


def test_the_best_single_source_stays_alone_where_nothing_helps(five: FiveSources) -> None:
    for_first = five.judge(objective="ndcg_at_10", target=range(ONE))
    assert Greedy(examples="").pick(for_first).tolist() == [0, 1, 0, 0, 0]
    no_experts = five.judge(budget=0.0)
    assert Greedy(examples="").pick(no_experts).tolist() == [1, 0, 0, 0, 0]


def test_a_higher_margin_lets_no_more_in(five: FiveSources) -> None:
    judge = five.judge(budget=0.1)
    sizes = [len(Greedy(examples="", margin=margin).ingredients(judge)) for margin in (0, 1, 2, 3, 5, 100)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > 2
    assert sizes[-1] == 1


def test_a_source_may_come_in_again_until_the_soup_is_full(five: FiveSources) -> None:
    judge = five.judge(budget=0.1)
    ingredients = Greedy(examples="", margin=0, most=8).ingredients(judge)
    assert len(set(ingredients)) < len(ingredients) <= 8
    assert Greedy(examples="", margin=0, most=2).ingredients(judge) == ingredients[:2]
    assert Greedy(examples="", margin=0, most=1).ingredients(judge) == ingredients[:1]


def test_the_same_evidence_gives_the_same_soup(five: FiveSources) -> None:
    first, second = (Greedy(examples="").ingredients(five.judge(budget=0.1)) for _ in range(2))
    assert first == second


def test_a_lost_source_never_comes_in(five: FiveSources) -> None:
    judge = five.judge(live=[0, 2, 3])
    assert set(Greedy(examples="", margin=0).ingredients(judge)) <= {0, 2, 3}


def test_a_copy_of_the_soup_adds_nothing(five: FiveSources) -> None:
    judge = five.judge(live=[0], target=range(8))
    assert Greedy(examples="", margin=0).ingredients(judge) == [0]


def test_weighing_by_it(five: FiveSources) -> None:
    guard = Guard(text=str(five.text), budget=0.1)
    strategy = Greedy(examples=str(five.examples), guard=guard, objective="loss", rounds=1)
    choice = weigh(five.specs, strategy)
    weights = choice.coefficients.weights
    assert list(weights) == NAMES
    assert sum(weights.values()) == pytest.approx(1)
    assert all(weight >= 0 for weight in weights.values())
    assert choice.selection.strategy == "greedy"


def test_bounds_other_than_those_of_an_average_are_refused() -> None:
    with pytest.raises(EmbedmergeError, match="this strategy averages"):
        Greedy(examples="few.jsonl", bounds=(0.0, 1.5))
