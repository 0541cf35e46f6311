from __future__ import annotations

import numpy as np
import pytest

from embedmerge.merging.methods.linear import SPEC, combine


@pytest.fixture
def tensors():
    random = np.random.default_rng(0)
    return [random.standard_normal((50, 20)).astype(np.float32) for _ in range(3)]


def test_equals_the_weighted_sum_in_double_precision(tensors):
    coefficients = [0.2, 0.5, 0.3]
    wanted = sum(c * tensor.astype(np.float64) for c, tensor in zip(coefficients, tensors, strict=True))
    merged = combine(tensors, coefficients)
    assert merged.dtype == np.float32
    np.testing.assert_allclose(merged, wanted, atol=1e-6)


def test_accumulates_in_float32_and_in_the_order_given(tensors):
    half, third = np.float32(0.5), np.float32(0.3)
    wanted = (np.float32(0.2) * tensors[0] + half * tensors[1]) + third * tensors[2]
    np.testing.assert_array_equal(combine(tensors, [0.2, 0.5, 0.3]), wanted)


def test_is_task_arithmetic_where_the_sum_is_one(tensors):
    base, *experts = (tensor.astype(np.float64) for tensor in tensors)
    wanted = base + 0.7 * (experts[0] - base) + 0.4 * (experts[1] - base)
    np.testing.assert_allclose(combine(tensors, [-0.1, 0.7, 0.4]), wanted, atol=1e-6)


@pytest.mark.parametrize("chosen", [0, 1, 2])
def test_a_tensor_that_counts_for_all_comes_out_bit_for_bit(tensors, chosen):
    tensors[chosen][:2] = [[0.0], [-0.0]]  # against both signs in the others
    coefficients = [float(row == chosen) for row in range(3)]
    assert combine(tensors, coefficients).tobytes() == tensors[chosen].tobytes()


def test_the_mean_of_a_tensor_and_its_negative_is_zero(tensors):
    assert not combine([tensors[0], -tensors[0]], [0.5, 0.5]).any()


def test_leaves_the_sources_as_they_are(tensors):
    copies = [tensor.copy() for tensor in tensors]
    merged = combine(tensors, [1.0, 0.0, 0.0])
    merged += 1
    combine(tensors, [0.2, 0.5, 0.3])
    for tensor, copy in zip(tensors, copies, strict=True):
        np.testing.assert_array_equal(tensor, copy)


def test_a_slice_depends_on_the_same_slice_alone(tensors):
    assert SPEC.elementwise
    whole = combine(tensors, [0.2, 0.5, 0.3])
    part = combine([tensor[10:20] for tensor in tensors], [0.2, 0.5, 0.3])
    assert part.tobytes() == whole[10:20].tobytes()


def test_a_scalar_stays_a_scalar():
    merged = combine([np.float32(1).reshape(()), np.float32(3).reshape(())], [0.5, 0.5])
    assert merged.shape == ()
    assert merged == 2


def test_as_many_coefficients_as_tensors_are_wanted(tensors):
    with pytest.raises(ValueError, match="zip"):
        combine(tensors, [0.5, 0.5])
