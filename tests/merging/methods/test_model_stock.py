from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from embedmerge.errors import EmbedmergeError
from embedmerge.merging.in_memory import merge_arrays

NAMES = ("base", "a", "b", "c", "d")


def merged(tensors, weights=None, held=1 << 22, **parameters):
    sources = {name: {"w": tensor} for name, tensor in zip(NAMES, tensors, strict=False)}
    return merge_arrays("model_stock", sources, weights, parameters=parameters, held=held)["w"]


def model_stock(tensors):
    """Equation by equation on whole vectors: t·mean(θᵢ) + (1-t)·θ₀."""
    base, *experts = (tensor.ravel() for tensor in tensors)
    angles = [
        (a - base) @ (b - base) / np.linalg.norm(a - base) / np.linalg.norm(b - base)
        for a, b in combinations(experts, 2)
    ]
    n, c = len(experts), np.mean(angles)
    t = n * c / (1 + (n - 1) * c)
    return (t * np.mean(experts, axis=0) + (1 - t) * base).reshape(tensors[0].shape)


@pytest.fixture
def tensors():
    random = np.random.default_rng(0)
    base = random.standard_normal((6, 8))
    common = random.standard_normal((6, 8))
    return [base, *(base + common + scale * random.standard_normal((6, 8)) for scale in (0.2, 0.5, 0.8))]


@pytest.mark.parametrize("experts", [2, 3])
@pytest.mark.parametrize("held", [9, 1 << 22])
def test_is_the_formula_on_whole_tensors(tensors, experts, held):
    chosen = tensors[: experts + 1]
    np.testing.assert_allclose(merged(chosen, held=held), model_stock(chosen), atol=2e-6)


@pytest.mark.parametrize("held", [9, 1 << 22])
def test_by_filter_each_row_has_a_ratio_of_its_own(tensors, held):
    wanted = [model_stock(rows) for rows in zip(*tensors, strict=True)]
    found = merged(tensors, held=held, filter_wise=True)
    np.testing.assert_allclose(found, wanted, atol=2e-6)
    assert np.abs(found - merged(tensors)).max() > 0.01


def test_the_weights_are_those_of_the_centre(tensors):
    base = tensors[0]
    whole = merged(tensors[:3]) - base
    t = np.linalg.norm(whole) / np.linalg.norm((tensors[1] + tensors[2]) / 2 - base)
    wanted = base + t * (0.6 * (tensors[1] - base) + 0.2 * (tensors[2] - base))
    np.testing.assert_allclose(merged(tensors[:3], [0.2, 0.6, 0.2]), wanted, atol=2e-6)


def test_orthogonal_task_vectors_give_the_base():
    base = np.float32([[1, 2], [3, 4]])
    experts = [base + np.float32([[1, 0], [0, 0]]), base + np.float32([[0, 5], [0, 0]])]
    assert merged([base, *experts]).tobytes() == base.tobytes()


def test_identical_task_vectors_give_the_mean(tensors):
    np.testing.assert_allclose(merged([tensors[0], *[tensors[1]] * 3]), tensors[1], atol=1e-6)


@pytest.mark.parametrize("experts", [2, 3])
def test_experts_that_contradict_each_other_give_the_base_and_not_its_opposite(experts):
    base = np.zeros(3, np.float32)
    corners = np.float32([[1, 0, 0], [-0.6, 0.8, 0], [-0.6, -0.8, 0]])[:experts]
    assert model_stock([base, *corners]).any()
    assert not merged([base, *corners]).any()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("filter_wise", [False, True])
def test_zero_and_antipodal_task_vectors(tensors, filter_wise):
    base, expert, other, _ = tensors
    for experts in ([base, base], [expert, base], [expert, 2 * base - expert]):
        np.testing.assert_allclose(merged([base, *experts], filter_wise=filter_wise), base, atol=1e-6)
    # A task vector of zeros takes part in the mean cosine with two zeros.
    cosine = (
        np.vdot(expert - base, other - base) / np.linalg.norm(expert - base) / np.linalg.norm(other - base)
    )
    t = cosine / (1 + 2 * cosine / 3)
    wanted = base + t * (expert + other - 2 * base) / 3
    np.testing.assert_allclose(merged([base, expert, other, base]), wanted, atol=2e-6)


def test_wants_two_experts(tensors):
    with pytest.raises(EmbedmergeError, match="at least 2 of its experts, not 1"):
        merged(tensors[:2])
