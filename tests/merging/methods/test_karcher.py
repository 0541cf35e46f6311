from __future__ import annotations

import numpy as np
import pytest

from embedmerge.merging.in_memory import merge_arrays

NAMES = ("base", "a", "b", "c", "d")


def merged(tensors, weights=None, held=1 << 22, **parameters):
    sources = {name: {"w": tensor} for name, tensor in zip(NAMES, tensors, strict=False)}
    return merge_arrays("karcher", sources, weights, parameters=parameters, held=held)["w"]


def log_map(mean, unit):
    """The tangent at `mean` towards `unit`, as long as the angle between them."""
    rest = unit - (mean @ unit) * mean
    return np.arccos(np.clip(mean @ unit, -1, 1)) * rest / np.linalg.norm(rest)


def karcher_mean(vectors, weights, steps):
    units = [vector / np.linalg.norm(vector) for vector in vectors]
    mean = sum(w * unit for w, unit in zip(weights, units, strict=True))
    mean /= np.linalg.norm(mean)
    for _ in range(steps):
        tangent = sum(w * log_map(mean, unit) for w, unit in zip(weights, units, strict=True))
        angle = np.linalg.norm(tangent)
        if angle < 1e-12:
            break
        mean = np.cos(angle) * mean + np.sin(angle) * tangent / angle
    return mean * sum(w * np.linalg.norm(vector) for w, vector in zip(weights, vectors, strict=True))


@pytest.fixture
def tensors():
    random = np.random.default_rng(0)
    base = random.standard_normal((6, 8))
    common = random.standard_normal((6, 8))
    shifts = [scale * (common + random.standard_normal((6, 8))) for scale in (0.2, 1, 3)]
    return [base, *(base + shift for shift in shifts)]


@pytest.mark.parametrize("held", [9, 1 << 22])
@pytest.mark.parametrize("steps", [0, 1, 3])
@pytest.mark.parametrize("weights", [[0.0, 1 / 3, 1 / 3, 1 / 3], [0.5, 0.3, 0.15, 0.05]])
def test_is_the_iteration_on_whole_task_vectors(tensors, weights, steps, held):
    scale = sum(weights[1:])
    vectors = [(tensor - tensors[0]).ravel() for tensor in tensors[1:]]
    mean = karcher_mean(vectors, np.array(weights[1:]) / scale, steps)
    found = merged(tensors, weights, held, max_iter=steps, tol=0)
    np.testing.assert_allclose(found.ravel(), tensors[0].ravel() + scale * mean, atol=3e-6)


def test_a_long_step_goes_along_the_great_circle():
    vectors = [np.array([2.0, 0, 0]), np.array([-0.8, 0.6, 0]), np.array([-0.5, 0.3, 1.5])]
    found = merged([np.zeros(3), *vectors], [0.0, 0.5, 0.3, 0.2], max_iter=1)
    np.testing.assert_allclose(found, karcher_mean(vectors, [0.5, 0.3, 0.2], 1), atol=1e-6)


@pytest.mark.parametrize("weights", [[0.0, 1 / 3, 1 / 3, 1 / 3], [0.4, 0.3, 0.2, 0.1]])
def test_of_whole_weights_the_base_is_one_among_them(tensors, weights):
    wanted = karcher_mean([tensor.ravel() for tensor in tensors], weights, 10)
    found = merged(tensors, weights, held=9, task_vectors=False, tol=0)
    np.testing.assert_allclose(found.ravel(), wanted, atol=3e-6)


def test_the_steps_towards_the_task_vectors_cancel_out_there(tensors):
    # The points differ enough for the first guess to be off by more than the tolerance.
    vectors = [(tensor - tensors[0]).ravel() for tensor in tensors[1:]]
    weights = [0.6, 0.3, 0.1]

    def gradient(**parameters):
        mean = (merged(tensors, [0.0, *weights], **parameters) - tensors[0]).ravel()
        mean /= np.linalg.norm(mean)
        units = [vector / np.linalg.norm(vector) for vector in vectors]
        return np.linalg.norm(sum(w * log_map(mean, u) for w, u in zip(weights, units, strict=True)))

    assert gradient(max_iter=0) > 1e-2
    assert gradient() < 1e-4


def test_between_two_it_is_a_point_on_their_arc():
    base = np.zeros(3)
    found = merged([base, np.array([2.0, 0, 0]), np.array([0, 4.0, 0])], [0.0, 0.75, 0.25])
    length, angle = 0.75 * 2 + 0.25 * 4, 0.25 * np.pi / 2
    np.testing.assert_allclose(found, [length * np.cos(angle), length * np.sin(angle), 0], atol=1e-5)


def test_stops_at_the_first_step_shorter_than_the_tolerance(tensors):
    assert merged(tensors, tol=10).tobytes() == merged(tensors, max_iter=0).tobytes()
    assert merged(tensors, tol=0).tobytes() != merged(tensors, max_iter=1).tobytes()


def test_a_negative_weight_turns_the_task_vector_round(tensors):
    vectors = [(tensor - tensors[0]).ravel() for tensor in tensors[1:]]
    mean = karcher_mean([vectors[0], vectors[1], -vectors[2]], [0.5, 0.3, 0.2], 10)
    found = merged(tensors, [0.4, 0.5, 0.3, -0.2], tol=0)
    np.testing.assert_allclose(found.ravel(), tensors[0].ravel() + mean, atol=3e-6)


@pytest.mark.filterwarnings("error")
def test_zero_antipodal_and_identical_task_vectors(tensors):
    base, moved = tensors[0], tensors[2] - tensors[0]
    np.testing.assert_allclose(merged([base, base, base]), base, atol=1e-7)
    np.testing.assert_allclose(merged([base, *[base + moved] * 4]), base + moved, atol=1e-6)
    np.testing.assert_allclose(merged([base, base + moved, base]), base + 0.5 * moved, atol=1e-6)
    opposite = merged([base, base + moved, base - moved], [0.0, 0.75, 0.25])
    np.testing.assert_allclose(opposite, base + moved, atol=1e-6)  # no way to the antipode is the shortest
    np.testing.assert_allclose(merged([base, base + moved, base - moved]), base, atol=1e-6)


def test_one_expert_comes_out_as_it_is(tensors):
    np.testing.assert_allclose(merged(tensors[:2]), tensors[1], atol=1e-6)
