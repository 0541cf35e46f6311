from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedmerge.weighting.simplex import around, spread, undominated

BOUNDS = [(0.0, 1.0), (-0.5, 1.5), (-0.2, 1.0), (0.0, 1.3), (-1.0, 2.0), (-0.03, 1.02)]


def holds(points: np.ndarray, corner: np.ndarray) -> bool:
    return bool((np.abs(points - corner) < 1e-9).all(axis=1).any())


@pytest.mark.parametrize("bounds", BOUNDS)
@pytest.mark.parametrize("sources", range(1, 8))
def test_points_sum_to_one_within_bounds_corners_among_them(
    sources: int, bounds: tuple[float, float]
) -> None:
    points = spread(sources, bounds)
    assert points.shape[1] == sources
    np.testing.assert_allclose(points.sum(axis=1), 1, atol=1e-7)
    assert points.min() >= bounds[0] - 1e-8
    assert points.max() <= bounds[1] + 1e-8
    assert all(holds(points, corner) for corner in np.eye(sources))
    assert len(np.unique(points, axis=0)) == len(points)


@pytest.mark.parametrize("sources", range(2, 8))
def test_wider_bounds_reach_further(sources: int) -> None:
    wide = spread(sources, (-0.5, 1.5))
    assert wide.min() < -0.3
    assert wide.max() > 1.2
    assert spread(sources).min() == 0


@pytest.mark.parametrize(("sources", "steps"), [(2, 200), (3, 50), (4, 20)])
def test_few_sources_are_looked_at_on_a_whole_grid(sources: int, steps: int) -> None:
    ticks = np.round(spread(sources) * steps).astype(int)
    grid = np.indices((steps + 1,) * (sources - 1)).reshape(sources - 1, -1).T
    wanted = {(steps - sum(row), *row) for row in grid.tolist() if sum(row) <= steps}
    assert set(map(tuple, ticks.tolist())) == wanted
    assert len(ticks) == len(wanted)


def test_draws_are_seeded_and_hold_the_edges_from_the_base() -> None:
    first, same, other = spread(6, seed=1), spread(6, seed=1), spread(6, seed=2)
    np.testing.assert_array_equal(first, same)
    assert first.shape != other.shape or not np.array_equal(first, other)
    assert holds(first, np.array([0.5, 0, 0, 0.5, 0, 0]))
    assert holds(first, np.full(6, 1 / 6).round(9))


@pytest.mark.parametrize("bounds", BOUNDS)
def test_draws_around_points_stay_near_them_and_within_bounds(bounds: tuple[float, float]) -> None:
    start = np.array([[0.5, 0.3, 0.2, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0, 1.0]])
    drawn = around(start, bounds, 0.02, 400, seed=3)
    assert 100 < len(drawn) <= 400
    np.testing.assert_allclose(drawn.sum(axis=1), 1)
    assert drawn.min() >= bounds[0] - 1e-9
    assert drawn.max() <= bounds[1] + 1e-9
    nearest = np.abs(drawn[:, None] - start[None]).max(axis=2).min(axis=1)
    assert nearest.max() < 0.2
    np.testing.assert_array_equal(drawn, around(start, bounds, 0.02, 400, seed=3))


def test_a_weight_of_zero_often_stays_zero() -> None:
    drawn = around(np.array([[0.5, 0.5, 0.0]]), (0.0, 1.0), 0.05, 1000, seed=0)
    assert 0.5 < (drawn[:, 2] == 0).mean() < 0.9  # half stay, and half of the others are cut back to it


values = st.integers(0, 6).map(float)


@given(st.lists(st.tuples(values, values), min_size=1, max_size=25))
def test_undominated_points_are_those_that_none_beats(points: list[tuple[float, float]]) -> None:
    first, second = (np.array(side) for side in zip(*points, strict=True))
    found = undominated(first, second)
    wanted = {(x, y) for x, y in points if not any(a >= x and b >= y and (a > x or b > y) for a, b in points)}
    assert {points[place] for place in found} == wanted
    assert len(found) == len(wanted)  # of equal points one is enough
    assert (np.diff(first[found]) < 0).all()
    assert (np.diff(second[found]) > 0).all()
