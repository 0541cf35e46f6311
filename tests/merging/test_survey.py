from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hn

from embedmerge.merging.anatomy import Site
from embedmerge.merging.part import Part
from embedmerge.merging.survey import Chain, Gram, KthLargest, Sums, elements_kept, share

FINITE = st.floats(width=32, allow_nan=False, allow_infinity=False)
CLOSE = st.sampled_from(
    [0.0, -0.0, 1.0, -1.0, 1e-45, -1e-45, 1.1754944e-38, 1.0000001, 0.99999994, 3.4028235e38]
)
ARRAYS = hn.arrays(np.float32, st.integers(1, 60), elements=FINITE | CLOSE)
SHARES = st.floats(0, 1)


def parts(*experts, cuts=()):
    """Slices of experts whose base is all zeros."""
    size = len(experts[0])
    places = [0, *sorted(cut % (size + 1) for cut in cuts), size]
    site = Site("w", (size,))
    for start, stop in pairwise(places):
        sources = (np.zeros(stop - start, np.float32), *(expert[start:stop] for expert in experts))
        yield Part(site, sources, (0.0, *[1 / len(experts)] * len(experts)), start)


def experts_of(part):
    return part.sources[1:]


def surveyed(survey, *experts, cuts=()):
    passes = 1
    while True:
        for part in parts(*experts, cuts=cuts):
            survey.add(survey.look(part))
        if not survey.finish_pass():
            assert passes == survey.passes
            return survey.facts
        passes += 1


@given(ARRAYS, st.lists(st.integers(0, 60), max_size=4), st.data())
def test_the_kth_largest_is_that_of_the_sorted_elements(values, cuts, data):
    ranks = tuple(data.draw(st.lists(st.integers(1, len(values)), min_size=1, max_size=4)))
    found = surveyed(KthLargest(experts_of, lambda _: ranks), values, cuts=cuts)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, [np.sort(values)[::-1][np.array(ranks) - 1]])


@given(ARRAYS, st.integers(1, 60))
def test_k_elements_are_at_or_above_it_and_fewer_above(values, k):
    k = min(k, len(values))
    threshold = surveyed(KthLargest(experts_of, lambda _: (k,)), values)[0, 0]
    assert np.count_nonzero(values > threshold) < k <= np.count_nonzero(values >= threshold)


def test_it_is_exact_where_only_the_lowest_bits_differ():
    values = (np.float32(1).view(np.uint32) + np.arange(300, dtype=np.uint32)).view(np.float32)
    shuffled = np.random.default_rng(0).permutation(np.concatenate([values, -values]))
    ranks = (1, 2, 150, 299, 300, 301, 450, 600)
    found = surveyed(KthLargest(experts_of, lambda _: ranks), shuffled, cuts=(7, 100))
    np.testing.assert_array_equal(found[0], np.sort(shuffled)[::-1][np.array(ranks) - 1])


def test_it_is_exact_among_many_elements():
    random = np.random.default_rng(1)
    values = (random.standard_normal(200_000) * 10.0 ** random.integers(-40, 30, 200_000)).astype(np.float32)
    k = 12_345
    found = surveyed(KthLargest(experts_of, lambda _: (k,)), values, cuts=(50_001, 120_003))
    assert found[0, 0] == np.partition(values, len(values) - k)[len(values) - k]


def test_among_equals_any_rank_is_the_same():
    values = np.float32([2, 5, 5, 5, -1])
    found = surveyed(KthLargest(experts_of, lambda _: (1, 2, 3, 4, 5)), values)
    assert found.tolist() == [[5, 5, 5, 2, -1]]


def test_zeros_of_both_signs_are_one_number_when_compared():
    values = np.float32([0.0, -0.0, 0.0, -0.0, 1, -1])
    (thresholds,) = surveyed(KthLargest(experts_of, lambda _: (2, 5)), values)
    for threshold in thresholds:
        assert (values >= threshold).tolist() == [True, True, True, True, True, False]


def test_of_no_elements_the_threshold_is_beyond_all():
    assert surveyed(KthLargest(experts_of, lambda _: (0, 1)), np.float32([3.4e38, -1])).tolist() == [
        [np.inf, np.float32(3.4e38)]
    ]


def test_each_tensor_has_thresholds_of_its_own():
    random = np.random.default_rng(2)
    experts = [random.standard_normal(50).astype(np.float32) * scale for scale in (1, 10, 100)]
    found = surveyed(KthLargest(experts_of, lambda _: (5, 20)), *experts, cuts=(13,))
    np.testing.assert_array_equal(found, [np.sort(expert)[::-1][[4, 19]] for expert in experts])


def test_each_tensor_may_have_ranks_of_its_own():
    random = np.random.default_rng(3)
    experts = [random.standard_normal(50).astype(np.float32) for _ in range(3)]
    ranks = [lambda _: (5, 20), lambda elements: (1, elements), lambda _: (0, 7)]
    found = surveyed(KthLargest(experts_of, ranks), *experts, cuts=(13,))
    falling = [np.sort(expert)[::-1] for expert in experts]
    wanted = [falling[0][[4, 19]], falling[1][[0, -1]], [np.inf, falling[2][6]]]
    np.testing.assert_array_equal(found, np.array(wanted, np.float32))


def test_ranks_are_told_from_the_number_of_elements_of_all_slices():
    asked = []

    def ranks(elements):
        asked.append(elements)
        return (1,)

    surveyed(KthLargest(experts_of, ranks), np.arange(30, dtype=np.float32), cuts=(7, 20))
    assert set(asked) == {30}


@given(SHARES, st.integers(1, 10_000))
@example(0.1, 30)
@example(0.1, 31)
@example(1.0, 7)
@example(0.0, 7)
def test_a_share_is_rounded_up_to_whole_elements(kept, elements):
    found = elements_kept(kept, elements)
    assert share(kept)(elements) == (found,)
    assert 0 <= found <= elements
    # Rounding errors of a product are no element.
    assert kept * elements - 1e-5 <= found < kept * elements + 1


def test_shares_written_as_decimals_come_to_the_number_meant():
    for tenths in range(11):
        for elements in range(10, 2010, 10):
            assert elements_kept(tenths / 10, elements) == tenths * elements // 10


@given(st.integers(1, 4), st.lists(st.integers(0, 40), max_size=4), st.integers(0, 99))
def test_a_gram_matrix_has_all_inner_products(count, cuts, seed):
    experts = np.random.default_rng(seed).standard_normal((count, 40)).astype(np.float32)
    found = surveyed(Gram(experts_of), *experts, cuts=cuts)
    assert found.dtype == np.float64
    wanted = [[sum(float(x) * float(y) for x, y in zip(a, b, strict=True)) for b in experts] for a in experts]
    np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-12)


def test_inner_products_keep_what_float32_would_lose():
    large, small = np.full(1000, 1e4, np.float32), np.full(1000, 1e-4, np.float32)
    found = surveyed(Gram(experts_of), np.concatenate([large, small]), np.ones(2000, np.float32))
    np.testing.assert_allclose(found[0, 1], 1000 * (float(large[0]) + float(small[0])), rtol=1e-14)


def test_sums_have_the_shape_that_is_asked_for():
    values = np.arange(12, dtype=np.float32)
    survey = Sums(lambda part: np.array([[part.sources[1].sum(dtype=np.float64)], [part.base.size]]))
    assert surveyed(survey, values, cuts=(5,)).tolist() == [[66], [12]]


def test_a_chain_hands_what_the_first_has_found_to_the_second():
    values = np.float32([4, -7, 1, 9, 3])

    def above(found):
        threshold = found[0, 0]
        return Sums(lambda part: np.array([(part.sources[1] * (part.sources[1] >= threshold)).sum()]))

    survey = Chain(KthLargest(experts_of, lambda _: (2,)), above, passes=3)
    thresholds, total = surveyed(survey, values, cuts=(2, 4))
    assert thresholds.tolist() == [[4]]
    assert total.tolist() == [13]


@pytest.mark.parametrize("second_passes", [1, 2])
def test_a_chain_ends_when_its_second_survey_ends(second_passes):
    first = Gram(experts_of)
    second = Gram(experts_of) if second_passes == 1 else KthLargest(experts_of, lambda _: (1,))
    surveyed(Chain(first, lambda _: second, passes=1 + second_passes), np.float32([1, 2]))
