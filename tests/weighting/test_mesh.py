from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedmerge.weighting.mesh import Mesh

if TYPE_CHECKING:
    from collections.abc import Callable

    Function = Callable[[np.ndarray], np.ndarray]

sources = st.integers(2, 5)
seeds = st.integers(0, 10_000)


def quadratic(number: int, seed: int) -> Function:
    """A random quadratic function of rows of weights."""
    random = np.random.default_rng(seed)
    square, slope = random.normal(size=(number, number)), random.normal(size=number)
    return lambda weights: np.einsum("ms,st,mt->m", weights, square, weights) + weights @ slope + 0.7


def wild(weights: np.ndarray) -> np.ndarray:
    """Far from quadratic."""
    return np.sin(7 * weights @ np.arange(1, weights.shape[1] + 1)) + np.exp(3 * weights[:, 0])


def coefficients(mesh: Mesh, function: Function) -> np.ndarray:
    """Values at corners, and how far each known midpoint is off the straight line."""
    at_corners = function(mesh.corners)
    pairs = np.array(mesh.curved, dtype=int).reshape(-1, 2)
    first, second = mesh.corners[pairs[:, 0]], mesh.corners[pairs[:, 1]]
    straight = (function(first) + function(second)) / 2
    return np.concatenate([at_corners, function((first + second) / 2) - straight])


def approximated(mesh: Mesh, function: Function, weights: np.ndarray) -> np.ndarray:
    return mesh.features(weights) @ coefficients(mesh, function)


def volumes(mesh: Mesh) -> np.ndarray:
    """Of the small simplices, as shares of the whole one."""
    return np.array([abs(np.linalg.det(mesh.corners[list(simplex)])) for simplex in mesh.simplices])


def curved(number: int) -> Mesh:
    mesh = Mesh.of(number)
    return mesh.with_midpoints(mesh.edges)


def split(mesh: Mesh, weights: np.ndarray) -> Mesh:
    """Split, with every edge's midpoint known afterwards."""
    new = mesh.split_at(weights)
    return new.with_midpoints([edge for edge in new.edges if edge not in new.curved])


@given(sources, seeds)
def test_a_quadratic_function_is_met_everywhere_in_the_simplex(number: int, seed: int) -> None:
    weights = np.random.default_rng(seed).dirichlet(np.ones(number), 30)
    function = quadratic(number, seed)
    np.testing.assert_allclose(approximated(curved(number), function, weights), function(weights), atol=1e-10)


@given(sources, seeds)
def test_and_outside_of_it(number: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    weights = random.normal(size=(30, number))
    weights[:, 0] += 1 - weights.sum(axis=1)
    assert weights.min() < 0
    function = quadratic(number, seed)
    np.testing.assert_allclose(
        approximated(curved(number), function, weights), function(weights), rtol=1e-9, atol=1e-9
    )


@given(sources, seeds)
@settings(deadline=None)
def test_and_after_splits_inside_and_outside(number: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    mesh = split(split(curved(number), random.dirichlet(np.ones(number))), random.dirichlet(np.ones(number)))
    weights = np.vstack(
        [random.dirichlet(np.ones(number), 20), 1.6 * random.dirichlet(np.ones(number), 9) - 0.6 / number]
    )
    function = quadratic(number, seed)
    np.testing.assert_allclose(approximated(mesh, function, weights), function(weights), atol=1e-7)


@given(sources, seeds)
def test_the_linear_part_sums_to_one_and_gives_the_weights_back(number: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    mesh = split(curved(number), random.dirichlet(np.ones(number)))
    weights = random.dirichlet(np.ones(number), 30)
    linear = mesh.features(weights)[:, : len(mesh.corners)]
    assert linear.min() > -1e-9
    np.testing.assert_allclose(linear.sum(axis=1), 1, atol=1e-9)
    np.testing.assert_allclose(linear @ mesh.corners, weights, atol=1e-9)


@given(sources, seeds)
def test_it_is_exact_at_corners_and_midpoints_of_any_function(number: int, seed: int) -> None:
    mesh = split(curved(number), np.random.default_rng(seed).dirichlet(np.ones(number)))
    middles = np.array([mesh.middle(edge) for edge in mesh.edges])
    for weights in (mesh.corners, middles):
        np.testing.assert_allclose(approximated(mesh, wild, weights), wild(weights), atol=1e-9)


def test_an_edge_without_a_midpoint_is_straight() -> None:
    mesh = Mesh.of(3).with_midpoints([(0, 1)])
    along = np.linspace(0, 1, 7)
    weights = np.stack([1 - along, np.zeros(7), along], axis=1)
    ends = wild(np.eye(3))
    np.testing.assert_allclose(approximated(mesh, wild, weights), (1 - along) * ends[0] + along * ends[2])


@given(sources, seeds)
@settings(deadline=None)
def test_small_simplices_fill_the_whole_one(number: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    mesh = Mesh.of(number)
    for _ in range(3):
        mesh = mesh.split_at(random.dirichlet(np.ones(number)))
    assert volumes(mesh).min() > 0
    assert volumes(mesh).sum() == pytest.approx(1)
    assert all(len(set(simplex)) == number for simplex in mesh.simplices)


@pytest.mark.parametrize(
    ("weights", "parts"),
    [
        ([0.5, 0.5, 0.0, 0.0], 2),
        ([0.2, 0.3, 0.5, 0.0], 3),
        ([0.1, 0.2, 0.3, 0.4], 4),
        ([0.3, 0.7 - 1e-12, 1e-12, 0.0], 2),
    ],
)
def test_a_split_on_an_edge_or_a_face_leaves_nothing_flat(weights: list[float], parts: int) -> None:
    mesh = Mesh.of(4).split_at(np.array(weights))
    assert len(mesh.simplices) == parts
    assert volumes(mesh).min() > 0.01
    assert volumes(mesh).sum() == pytest.approx(1)


def test_a_split_on_a_shared_edge_cuts_all_around_it() -> None:
    mesh = Mesh.of(3).split_at(np.array([0.4, 0.3, 0.3])).split_at(np.array([0.7, 0.15, 0.15]))
    # The second lies between the first source and the first split, where two small triangles meet.
    assert len(mesh.simplices) == 5
    assert volumes(mesh).min() > 0.01
    assert volumes(mesh).sum() == pytest.approx(1)


@given(st.integers(3, 5), seeds)
@settings(deadline=None, max_examples=50)
def test_it_is_continuous_across_faces(number: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    first, second = random.dirichlet(2 * np.ones(number), 2)
    mesh = split(split(curved(number), first), second)
    for one, other in combinations(mesh.simplices, 2):
        face = sorted(set(one) & set(other))
        if len(face) < number - 1:
            continue
        point = random.dirichlet(np.ones(len(face))) @ mesh.corners[face]
        aside = random.normal(size=number)
        aside -= aside.mean()
        both = point + 1e-9 * np.stack([aside, -aside])
        values = approximated(mesh, wild, both)
        assert values[0] == pytest.approx(values[1], abs=1e-4)


@given(sources, seeds)
def test_slopes_are_the_features_derivatives(number: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    mesh = split(curved(number), random.dirichlet(2 * np.ones(number)))
    weights = 0.9 * random.dirichlet(2 * np.ones(number)) + 0.1 / number
    direction = random.normal(size=number)
    direction -= direction.mean()  # weights keep their sum
    step = 1e-6 * direction
    # Where a face lies between the two ends there is no one derivative.
    ends = [mesh.features((weights + sign * step)[None])[0] for sign in (1, -1)]
    if ((ends[0] > 0) != (ends[1] > 0)).any():
        return
    found = mesh.slopes(weights) @ direction
    np.testing.assert_allclose(found, (ends[0] - ends[1]) / 2e-6, atol=1e-5 * max(1, np.abs(found).max()))
