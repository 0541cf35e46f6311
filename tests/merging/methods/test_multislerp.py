from __future__ import annotations

import numpy as np
import pytest

from embedmerge.merging.in_memory import merge_arrays

NAMES = ("base", "a", "b", "c", "d")


def merged(tensors, weights=None, held=1 << 22):
    sources = {name: {"w": tensor} for name, tensor in zip(NAMES, tensors, strict=False)}
    return merge_arrays("multislerp", sources, weights, held=held)["w"]


@pytest.fixture
def tensors():
    random = np.random.default_rng(0)
    base = random.standard_normal((6, 8))
    return [base, *(base + scale * random.standard_normal((6, 8)) for scale in (0.2, 1, 3))]


@pytest.mark.parametrize("held", [9, 1 << 22])
@pytest.mark.parametrize(
    "weights", [[0, 1 / 3, 1 / 3, 1 / 3], [0.4, 0.3, 0.2, 0.1], [-1, 1, 0.5, 0.5], [0.4, -0.2, 0.3, 0.5]]
)
def test_has_the_mean_direction_and_the_mean_length(tensors, weights, held):
    task_vectors = [(tensor - tensors[0]).ravel() for tensor in tensors[1:]]
    lengths = [np.linalg.norm(tau) for tau in task_vectors]
    direction = sum(
        w * tau / length for w, tau, length in zip(weights[1:], task_vectors, lengths, strict=True)
    )
    length = sum(abs(w) * length for w, length in zip(weights[1:], lengths, strict=True))
    wanted = tensors[0].ravel() + length * direction / np.linalg.norm(direction)
    np.testing.assert_allclose(merged(tensors, weights, held).ravel(), wanted, atol=5e-6)


def test_one_expert_comes_out_as_it_is(tensors):
    np.testing.assert_allclose(merged(tensors[:2]), tensors[1], atol=1e-6)


def test_identical_experts_come_out_as_they_are(tensors):
    np.testing.assert_allclose(merged([tensors[0], *[tensors[2]] * 3]), tensors[2], atol=1e-6)


@pytest.mark.filterwarnings("error")
def test_directions_that_cancel_out_are_averaged(tensors):
    base, moved = tensors[0], tensors[2] - tensors[0]
    found = merged([base, base + moved, base - 0.5 * moved])
    np.testing.assert_allclose(found, base + 0.25 * moved, atol=1e-6)


@pytest.mark.filterwarnings("error")
def test_an_expert_that_is_the_base_shortens_but_does_not_turn(tensors):
    base, moved = tensors[0], tensors[2] - tensors[0]
    np.testing.assert_allclose(merged([base, base + moved, base]), base + 0.5 * moved, atol=1e-6)
    np.testing.assert_allclose(merged([base, base, base]), base, atol=1e-7)
