from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedmerge.merging.anatomy import Site
from embedmerge.merging.part import Part, weighted_sum

SITE = Site.of("encoder.layer.0.output.dense.weight", (7, 13), 1)
WHOLE = 7 * 13


def part(weights=(0.2, 0.5, 0.3), start=0, size=WHOLE, names=("base", "legal", "code"), site=SITE):
    sources = tuple(np.full(size, number, np.float32) for number in range(len(weights)))
    return Part(site, sources, tuple(weights), start, names)


def test_the_base_is_the_first_and_task_vectors_are_what_experts_add_to_it():
    sources = tuple(np.float32([value]) for value in (1, 3, -2))
    of_all = Part(SITE, sources, (0.2, 0.5, 0.3))
    assert of_all.base is sources[0]
    assert [tau.item() for tau in of_all.task_vectors] == [2, -3]


@pytest.mark.parametrize(
    ("weights", "scale", "shares", "factors"),
    [
        ((0, 0.5, 0.5), 1, (0.5, 0.5), (1, 1)),
        ((0.4, 0.3, 0.3), 0.6, (0.5, 0.5), (1, 1)),
        ((-1, 1.5, 0.5), 2, (0.75, 0.25), (1.5, 0.5)),
        ((0.8, 0.5, -0.3), 0.8, (0.625, -0.375), (1.25, -0.75)),
        ((0, 1), 1, (1,), (1,)),
        ((1.5, -0.5), 0.5, (-1,), (-1,)),
    ],
)
def test_weights_are_a_scale_times_shares(weights, scale, shares, factors):
    found = part(weights, names=())
    assert found.scale == pytest.approx(scale)
    assert found.shares == pytest.approx(shares)
    assert found.factors == pytest.approx(factors)


def test_an_expert_that_counts_for_nothing_leaves_the_factors_of_the_others():
    assert part((0, 0.5, 0.5, 0), names=()).factors == pytest.approx((1, 1, 0))
    assert part((0, 1, 0), names=()).factors == pytest.approx((1, 0))


def test_where_no_expert_counts_all_are_alike_and_nothing_is_moved():
    found = part((1, 0, 0))
    assert found.scale == 0
    assert found.shares == (0.5, 0.5)


@given(st.data())
def test_what_is_drawn_does_not_depend_on_how_a_tensor_is_cut(data):
    start = data.draw(st.integers(0, WHOLE - 1))
    stop = data.draw(st.integers(start + 1, WHOLE))
    whole = part().uniform(1, 5)
    np.testing.assert_array_equal(part(start=start, size=stop - start).uniform(1, 5), whole[start:stop])


def test_far_into_a_large_tensor_the_numbers_are_the_same_as_from_its_beginning():
    whole = part(size=100_003).uniform(0, 1)
    np.testing.assert_array_equal(part(start=99_990, size=13).uniform(0, 1), whole[99_990:])


def test_what_is_drawn_follows_the_experts_name_not_its_place():
    first = part(names=("base", "legal", "code"))
    second = part(names=("base", "code", "legal"))
    np.testing.assert_array_equal(first.uniform(0, 3), second.uniform(1, 3))


def test_seed_expert_purpose_and_tensor_each_give_other_numbers():
    other = Site.of("encoder.layer.1.output.dense.weight", (7, 13), 1)
    drawn = [
        part().uniform(0, 0),
        part().uniform(0, 1),
        part().uniform(1, 0),
        part().uniform(0, 0, "mask"),
        part(site=other).uniform(0, 0),
    ]
    for row, one in enumerate(drawn):
        assert all(np.mean(one == another) < 0.05 for another in drawn[:row])


def test_numbers_are_uniform_from_0_to_below_1_and_of_the_parts_shape():
    shaped = Part(SITE, tuple(np.zeros((50, 400), np.float32) for _ in range(2)), (0.0, 1.0))
    drawn = shaped.uniform(0, 0)
    assert drawn.shape == (50, 400)
    assert drawn.min() >= 0
    assert drawn.max() < 1
    counts, _ = np.histogram(drawn, bins=20, range=(0, 1))
    # 20 bins of 1000 expected each; a chi-squared of 19 degrees of freedom is above 50 once in 10 000 times.
    assert ((counts - 1000) ** 2 / 1000).sum() < 50


def test_what_was_drawn_once_is_drawn_for_ever():
    drawn = part(size=3).uniform(0, 0)
    np.testing.assert_allclose(drawn, part(size=5).uniform(0, 0)[:3], rtol=0)
    assert drawn.dtype == np.float64


@given(st.lists(st.tuples(st.floats(-2, 2, width=32), st.floats(-9, 9, width=32)), min_size=1, max_size=5))
def test_a_weighted_sum_is_the_sum(pairs):
    weights, values = zip(*pairs, strict=True)
    found = weighted_sum([np.full(3, value, np.float32) for value in values], weights)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, np.dot(weights, values), atol=1e-4)


def test_a_weighted_sum_takes_a_weight_for_each_row():
    tensors = [np.arange(6, dtype=np.float32).reshape(2, 3), np.ones((2, 3), np.float32)]
    found = weighted_sum(tensors, [np.array([[2.0], [0.0]]), np.array([[0.0], [-1.0]])])
    np.testing.assert_array_equal(found, [[0, 2, 4], [-1, -1, -1]])


def test_a_tensor_that_alone_counts_comes_out_bit_for_bit():
    values = np.float32([-0.0, 0.0, 1e-45, -3.4e38, 0.1])
    others = np.full(5, np.inf, np.float32)
    assert weighted_sum([others, values, others], [0.0, 1.0, 0.0]).tobytes() == values.tobytes()


def test_where_nothing_counts_the_sum_is_zero():
    found = weighted_sum([np.full(2, np.inf, np.float32)] * 2, [0.0, 0.0])
    assert found.tolist() == [0, 0]
    assert found.dtype == np.float32


def test_the_sum_is_a_new_array():
    tensor = np.ones(3, np.float32)
    for weight in (1.0, 0.0):
        weighted_sum([tensor], [weight])[:] = 7
    assert tensor.tolist() == [1, 1, 1]
