from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import minimize

from embedmerge.errors import EmbedmergeError
from embedmerge.merging.modifiers import HELP
from embedmerge.weighting.projection import within
from embedmerge.weighting.search.ranges import MODIFIERS, Range, ranges_of
from embedmerge.weighting.search.space import Space
from embedmerge.weighting.strategy import MethodChoice

NAMES = ["base", "legal", "code"]
BOUNDS = [(0.0, 1.0), (-0.3, 1.2), (-1.0, 2.0)]


@pytest.mark.parametrize("bounds", BOUNDS)
def test_points_moved_within_bounds_are_the_nearest_there(bounds) -> None:
    low, high = bounds
    for given_weights in np.random.default_rng(0).uniform(-2, 3, (10, 3)):
        found = within(given_weights[None], bounds)[0]
        wanted = minimize(
            lambda weights, goal=given_weights: ((weights - goal) ** 2).sum(),
            np.full(3, 1 / 4),
            bounds=[bounds] * 3,
            constraints=[
                {"type": "ineq", "fun": lambda weights: weights.sum() - (1 - high)},
                {"type": "ineq", "fun": lambda weights: (1 - low) - weights.sum()},
            ],
            options={"ftol": 1e-12},
        ).x
        np.testing.assert_allclose(found, wanted, atol=1e-4)


@settings(max_examples=60, deadline=None)
@given(coordinates=arrays(np.float64, (3, 6), elements=st.floats(-1, 2)), bounds=st.sampled_from(BOUNDS))
def test_every_point_is_a_mixture_within_bounds_and_ranges(coordinates, bounds) -> None:
    space = Space(
        6, [0, 1, 3, 4, 5], bounds, {"density": Range(0.1, 0.9, 0.2), "agree": Range(1, 4, 2, True)}
    )
    for repaired in space.repaired(coordinates):
        point = space.point(repaired)
        assert math.isclose(math.fsum(point.weights), 1, abs_tol=1e-9)
        assert all(bounds[0] - 1e-9 <= weight <= bounds[1] + 1e-9 for weight in point.weights)
        assert point.weights[2] == 0  # a lost source
        assert 0.1 <= point.parameters["density"] <= 0.9
        assert point.parameters["agree"] in {1, 2, 3, 4}


def test_landmarks_are_base_average_and_experts() -> None:
    space = Space(3, [0, 1, 2], (0.0, 1.0), {"density": Range(0.1, 0.9, 0.2)})
    points = [space.point(coordinates) for coordinates in space.landmarks]
    assert [point.weights for point in points] == [
        (1.0, 0.0, 0.0),
        (0.3334, 0.3333, 0.3333),
        (0.0, 1.0, 0.0),
        (0.0, 0.0, 1.0),
    ]
    assert {point.parameters["density"] for point in points} == {0.2}


def test_draws_are_even_over_the_simplex() -> None:
    drawn = Space(3, [0, 1, 2], (0.0, 1.0), {}).drawn(4000, np.random.default_rng(0))
    np.testing.assert_allclose(drawn.mean(axis=0), 1 / 3, atol=0.02)
    np.testing.assert_allclose((drawn.sum(axis=1) < 0.5).mean(), 0.25, atol=0.03)


def test_every_modifier_that_is_a_number_can_be_searched() -> None:
    assert set(MODIFIERS) == set(HELP) - {"exclude"}


def test_a_search_starts_at_what_is_set_else_at_the_default_else_in_the_middle() -> None:
    space = {"density": (0.1, 0.9), "scale": (0.5, 2.0), "lines": (0.0, 0.4)}
    ranges = ranges_of(space, MethodChoice("ties", {"density": 0.3, "agg": "sum"}), NAMES)
    assert {name: each.start for name, each in ranges.items()} == {"density": 0.3, "scale": 1, "lines": 0.2}
    assert ranges_of({"agree": (1, 3)}, MethodChoice("consensus"), NAMES)["agree"].whole


@pytest.mark.parametrize(
    ("space", "method", "message"),
    [
        ({"densty": (0.1, 0.9)}, MethodChoice("ties"), "did you mean 'density'"),
        ({"agg": (0, 1)}, MethodChoice("ties"), "no number 'agg'"),
        ({"exclude": (0, 1)}, MethodChoice("ties"), "no number 'exclude'"),
        ({"density": (0.9, 0.1)}, MethodChoice("ties"), "no range"),
        ({"density": (0.5, 0.5)}, MethodChoice("ties"), "no range"),
        ({"scale": (0.5, math.inf)}, MethodChoice("linear"), "no range"),
        ({"density": (0.5, 1.5)}, MethodChoice("ties"), "between 0 and 1"),
        ({"clamp": (-1.0, 1.0)}, MethodChoice("linear"), "at least 0"),
        ({"lines_top": (0.5, 1.0)}, MethodChoice("linear"), "says nothing without `lines`"),
        ({"scale": (0.5, 2.0)}, MethodChoice("linear", {"scale": [0.5, 1.0]}), "tensor by tensor"),
        ({}, MethodChoice("tie"), "no such merging method"),
    ],
)
def test_what_cannot_be_searched_is_refused_in_one_line(space, method, message) -> None:
    with pytest.raises(EmbedmergeError, match=message) as caught:
        ranges_of(space, method, NAMES)
    assert "\n" not in str(caught.value)
