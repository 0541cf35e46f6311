from __future__ import annotations

import numpy as np
import pytest

from embedmerge.errors import EmbedmergeError
from embedmerge.merging.in_memory import merge_arrays

NAMES = ("base", "a", "b")


def merged(tensors, weights, held=1 << 22):
    sources = {name: {"w": tensor} for name, tensor in zip(NAMES, tensors, strict=False)}
    return merge_arrays("linear", sources, weights, held=held)["w"]


@pytest.fixture
def tensors():
    random = np.random.default_rng(0)
    return [random.standard_normal((50, 20)).astype(np.float32) for _ in range(3)]


def test_equals_the_weighted_sum_in_double_precision(tensors):
    weights = [0.2, 0.5, 0.3]
    wanted = sum(weight * tensor.astype(np.float64) for weight, tensor in zip(weights, tensors, strict=True))
    found = merged(tensors, weights)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_accumulates_in_float32_and_in_the_order_given(tensors):
    half, third = np.float32(0.5), np.float32(0.3)
    wanted = (np.float32(0.2) * tensors[0] + half * tensors[1]) + third * tensors[2]
    np.testing.assert_array_equal(merged(tensors, [0.2, 0.5, 0.3]), wanted)


def test_is_task_arithmetic_where_the_sum_is_one(tensors):
    base, *experts = (tensor.astype(np.float64) for tensor in tensors)
    wanted = base + 0.7 * (experts[0] - base) + 0.4 * (experts[1] - base)
    np.testing.assert_allclose(merged(tensors, [-0.1, 0.7, 0.4]), wanted, atol=1e-6)


@pytest.mark.parametrize("chosen", [0, 1, 2])
def test_a_tensor_that_counts_for_all_comes_out_bit_for_bit(tensors, chosen):
    tensors[chosen][:2] = [[0.0], [-0.0]]  # against both signs in the others
    weights = [float(row == chosen) for row in range(3)]
    assert merged(tensors, weights).tobytes() == tensors[chosen].tobytes()


def test_the_mean_of_a_tensor_and_its_negative_is_zero(tensors):
    assert not merged([tensors[0], -tensors[0]], [0.5, 0.5]).any()


def test_leaves_the_sources_as_they_are(tensors):
    copies = [tensor.copy() for tensor in tensors]
    found = merged(tensors, [1.0, 0.0, 0.0])
    found += 1
    merged(tensors, [0.2, 0.5, 0.3])
    for tensor, copy in zip(tensors, copies, strict=True):
        np.testing.assert_array_equal(tensor, copy)


@pytest.mark.parametrize("held", [1, 7, 100, 4001])
def test_slices_give_the_same_bits(tensors, held):
    weights = [0.2, 0.5, 0.3]
    assert merged(tensors, weights, held).tobytes() == merged(tensors, weights).tobytes()


def test_a_scalar_stays_a_scalar():
    found = merged([np.float32(1).reshape(()), np.float32(3).reshape(())], [0.5, 0.5])
    assert found.shape == ()
    assert found == 2


def test_weights_must_be_given():
    tensors = [np.zeros(2), np.ones(2)]
    with pytest.raises(EmbedmergeError, match="one each, base first"):
        merged(tensors, [1.0])
