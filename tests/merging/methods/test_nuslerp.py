from __future__ import annotations

import numpy as np
import pytest

from embedmerge.errors import EmbedmergeError
from embedmerge.merging.in_memory import merge_arrays


def merged(tensors, weights=None, held=1 << 22, **parameters):
    sources = {name: {"w": tensor} for name, tensor in zip(("base", "a", "b"), tensors, strict=True)}
    return merge_arrays("nuslerp", sources, weights, parameters=parameters, held=held)["w"]


def arc(first, second, t):
    cosine = first @ second / np.linalg.norm(first) / np.linalg.norm(second)
    omega = np.arccos(cosine)
    return (np.sin((1 - t) * omega) * first + np.sin(t * omega) * second) / np.sin(omega)


@pytest.fixture
def tensors():
    random = np.random.default_rng(0)
    base = random.standard_normal((6, 8))
    return [base, base + random.standard_normal((6, 8)) / 3, base + random.standard_normal((6, 8))]


@pytest.mark.parametrize("held", [9, 1 << 22])
@pytest.mark.parametrize("weights", [[0.0, 0.5, 0.5], [0.0, 0.2, 0.8], [0.5, 0.2, 0.3], [-0.5, 0.5, 1.0]])
def test_is_the_arc_between_the_whole_task_vectors(tensors, weights, held):
    base, first, second = (tensor.ravel() for tensor in tensors)
    share = weights[2] / (weights[1] + weights[2])
    wanted = base + (weights[1] + weights[2]) * arc(first - base, second - base, share)
    np.testing.assert_allclose(merged(tensors, weights, held).ravel(), wanted, atol=2e-6)


@pytest.mark.parametrize("held", [9, 1 << 22])
def test_by_row_each_row_has_an_arc_of_its_own(tensors, held):
    wanted = [
        base + arc(first - base, second - base, 0.3) for base, first, second in zip(*tensors, strict=True)
    ]
    found = merged(tensors, [0.0, 0.7, 0.3], held, row_wise=True)
    np.testing.assert_allclose(found, wanted, atol=2e-6)
    assert np.abs(found - merged(tensors, [0.0, 0.7, 0.3])).max() > 0.01


def test_by_row_a_vector_is_one_row_and_a_scalar_too(tensors):
    row = [tensor[0] for tensor in tensors]
    np.testing.assert_array_equal(merged(row, row_wise=True), merged(row))
    scalars = [np.float32(1).reshape(()), np.float32(2).reshape(()), np.float32(4).reshape(())]
    assert merged(scalars, row_wise=True) == 3


def test_a_negative_weight_turns_the_task_vector_round(tensors):
    base, first, second = (tensor.ravel() for tensor in tensors)
    wanted = base + arc(-(first - base), second - base, 0.75)
    np.testing.assert_allclose(merged(tensors, [0.5, -0.25, 0.75]).ravel(), wanted, atol=2e-6)
    wanted = base + arc(first - base, -(second - base), 0.75)
    np.testing.assert_allclose(merged(tensors, [1.5, 0.25, -0.75]).ravel(), wanted, atol=2e-6)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("row_wise", [False, True])
@pytest.mark.parametrize("factor", [1, -1, 0])
def test_parallel_antipodal_and_zero_task_vectors_are_averaged(tensors, factor, row_wise):
    base, moved, _ = tensors
    found = merged([base, moved, base + factor * (moved - base)], [0.0, 0.75, 0.25], row_wise=row_wise)
    np.testing.assert_allclose(found, base + (0.75 + 0.25 * factor) * (moved - base), atol=2e-6)


@pytest.mark.parametrize("experts", [1, 3])
def test_is_for_two_experts(tensors, experts):
    sources = {str(number): {"w": tensors[0]} for number in range(experts + 1)}
    with pytest.raises(EmbedmergeError, match=f"exactly 2 of its experts, not {experts}"):
        merge_arrays("nuslerp", sources)
