from __future__ import annotations

import json
from dataclasses import replace
from math import comb
from typing import TYPE_CHECKING

import numpy as np
import pytest
from test_front import ROOMY, made_examples, specs, written

from embedmerge.api import weigh
from embedmerge.weighting.front import Front
from embedmerge.weighting.guard import Guard
from embedmerge.weighting.registry import parse_strategy
from embedmerge.weighting.simplex import STEPS
from embedmerge.weighting.strategy import choice_from_json, choice_to_json
from embedmerge.weighting.surface import LIGHT, LOST, Surface, lattice, surface

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

NAMES = ("base", "one", "two", "three", "four", "five")


def plane(weights: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """Linear in the weights, so that interpolation is exact."""
    places = np.arange(weights.shape[1])
    return weights @ places, weights @ places[::-1], weights @ (places % 2) - 0.5


def drawn(sources: int, number: int = 50, seed: int = 0) -> NDArray[np.float64]:
    return np.random.default_rng(seed).dirichlet(np.full(sources, 0.6), number)


def made(chosen: list[float], lost: tuple[int, ...] = ()) -> Surface:
    found = surface(NAMES[: len(chosen)], np.array(chosen), lost, plane)
    assert found is not None
    return found


@pytest.mark.parametrize("sources", STEPS)
def test_the_lattice_has_every_point_once(sources: int) -> None:
    points = lattice(sources, STEPS[sources])
    assert len(points) == comb(STEPS[sources] + sources - 1, sources - 1)
    assert len(np.unique(points.round(9), axis=0)) == len(points)
    assert points.sum(axis=1) == pytest.approx(1)
    assert points.min() == 0


@pytest.mark.parametrize("sources", STEPS)
def test_linear_quality_is_interpolated_exactly(sources: int) -> None:
    found = made([1 / sources] * sources)
    for weights in [*np.eye(sources), *drawn(sources), *lattice(sources, STEPS[sources])[::40]]:
        at = found.at(weights.tolist())
        expected = [float(side[0]) for side in plane(weights[None])]
        assert [at.target, at.general, at.margin] == pytest.approx(expected, abs=2e-5)


def test_small_simplices_meet_without_a_step() -> None:
    rough = np.random.default_rng(1).normal(size=len(lattice(3, STEPS[3])))
    found = replace(made([0.5, 0.3, 0.2]), target=tuple(rough))
    for weights in drawn(3):
        for nudge in ([1e-6, -1e-6, 0], [0, 1e-6, -1e-6]):
            moved = np.abs(weights + nudge)
            assert found.at(moved).target == pytest.approx(found.at(weights).target, abs=1e-2)


def test_only_the_heaviest_four_are_spanned() -> None:
    found = made([0.1, 0.2, 0.05, 0.3, 0.0, 0.35])
    assert found.names == ("base", "one", "three", "five")
    assert found.left_out == {"two": LIGHT, "four": LIGHT}
    exact = plane(np.array([[0.1, 0.2, 0.05, 0.3, 0.0, 0.35]]))
    assert found.chosen.target == pytest.approx(exact[0][0])  # off the lattice, so as it is


def test_a_lost_source_is_left_out_with_the_reason() -> None:
    found = made([0.7, 0.3, 0.0], lost=(2,))
    assert (found.names, found.left_out) == (("base", "one"), {"two": LOST})
    assert found.chosen == found.at([0.7, 0.3])


def test_nothing_to_move_over() -> None:
    assert surface(NAMES[:2], np.array([1.0, 0.0]), [1], plane) is None
    assert surface(NAMES[:2], np.array([1.2, -0.2]), [], plane) is None


@pytest.fixture(scope="module")
def weighed(make_checkpoint, make_expert, tmp_path_factory):
    """A real choice between a base and two experts, by the surrogate."""
    good = make_checkpoint("surface-good", seed=11, layers=1, spread=4)
    folders: list[Path] = [
        make_expert(f"surface-{name}", base=good, seed=seed, scale=0.08)
        for seed, name in enumerate(("base", "tuned", "peer"))
    ]
    file = tmp_path_factory.mktemp("surface") / "examples.jsonl"
    given = written(file, made_examples(30))
    guard = Guard(budget=ROOMY, most=16)
    return folders, given, weigh(specs(*folders), Front(examples=given, guard=guard))


def test_a_choice_carries_its_surface(weighed) -> None:
    _, _, choice = weighed
    selection = choice.selection
    found = selection.surface
    assert found.names == tuple(choice.coefficients.weights)
    base, *experts = selection.candidates[:3]
    for candidate in (base, *experts):  # the corners are exact, and cross-validation shares all queries out
        at = found.at(list(candidate.weights.values()))
        assert at.target == pytest.approx(candidate.target.value, abs=1e-4)
        assert at.general == pytest.approx(candidate.general.value, abs=1e-4)
    for point in (*selection.front[:5], selection.front[-1]):  # on the grid of the choice, so exact too
        assert found.at(list(point.weights.values())).target == pytest.approx(point.target, abs=1e-4)
    assert found.chosen == found.at(list(choice.coefficients.weights.values()))


def test_it_survives_json_and_may_be_missing(weighed) -> None:
    content = json.loads(json.dumps(choice_to_json(weighed[2])))
    assert choice_from_json(content).selection.surface == weighed[2].selection.surface
    del content["selection"]["surface"]
    assert choice_from_json(content).selection.surface is None


def test_a_search_by_trial_has_none(weighed) -> None:
    folders, given, _ = weighed
    settings = {"examples": given, "evaluation": "true", "trials": 6, "guard": {"budget": ROOMY, "most": 16}}
    choice = weigh(specs(*folders[:2]), parse_strategy("map", settings))
    assert choice.selection.surface is None
