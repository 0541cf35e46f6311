from __future__ import annotations

import pytest

from embedmerge.errors import EmbedmergeError
from embedmerge.from_mergekit.schedule import Schedule, normalised, pointwise, sums
from embedmerge.merging.anatomy import Site
from embedmerge.merging.settings import resolve

BLOCKS = 4
QUERIES = [Site.of(f"layer.{block}.query.weight", (4, 4), BLOCKS) for block in range(BLOCKS)]
OUTPUTS = [Site.of(f"layer.{block}.output.weight", (4, 4), BLOCKS) for block in range(BLOCKS)]
WORDS = Site.of("embeddings.word_embeddings.weight", (9, 4), BLOCKS)
POOLER = Site.of("pooler.dense.weight", (4, 4), BLOCKS)


def parsed(value):
    return Schedule.parse(value, "weight")


def found(schedule, sites):
    return [resolve(schedule.setting, site, 99.0) for site in sites]


def asked():
    raise AssertionError("the number of blocks is not needed here")


def test_one_number_stays_one():
    assert parsed(0.5).setting == 0.5
    assert parsed("1e-3").setting == 1e-3
    assert parsed([0.5, 0.5]).setting == 0.5
    assert parsed({"value": 2}).setting == 2


def test_a_gradient_is_spread_over_the_blocks_and_its_first_number_holds_for_what_is_none():
    schedule = parsed([0.2, 0.8])
    assert found(schedule, QUERIES) == pytest.approx([0.2, 0.4, 0.6, 0.8])
    assert found(schedule, [WORDS, POOLER]) == [0.2, 0.2]


def test_the_first_filter_that_the_name_contains_counts():
    schedule = parsed([{"filter": "query", "value": 1}, {"filter": "er", "value": 2}, {"value": 3}])
    assert found(schedule, [QUERIES[0], OUTPUTS[0], WORDS]) == [1, 2, 3]
    assert found(parsed([{"filter": "*", "value": 4}, {"filter": "query", "value": 1}]), QUERIES) == [4] * 4
    assert found(parsed([{"filter": "y", "value": 5}, {"filter": "y", "value": 6}]), QUERIES[:1]) == [5]


def test_a_gradient_under_a_filter_holds_in_the_blocks_alone():
    schedule = parsed([{"filter": "e", "value": [0, 3]}, {"value": 9}])
    assert found(schedule, [*QUERIES, WORDS, POOLER]) == pytest.approx([0, 1, 2, 3, 0, 0])
    schedule = parsed([{"filter": "query", "value": [0, 3]}, {"value": [9, 6]}])
    assert found(schedule, [*OUTPUTS, WORDS]) == pytest.approx([9, 8, 7, 6, 9])


def test_a_filter_is_text_and_no_pattern():
    schedule = parsed([{"filter": "layer.[01]", "value": 1}, {"filter": "quer?", "value": 1}, {"value": 2}])
    assert found(schedule, QUERIES) == [2] * 4


def test_what_filters_leave_out_is_taken_from_the_other_schedule():
    own = parsed([{"filter": "query", "value": 1}])
    assert not own.is_complete
    whole = own.otherwise(parsed([{"filter": "output", "value": 2}, {"value": 3}]))
    assert found(whole, [QUERIES[0], OUTPUTS[0], WORDS]) == [1, 2, 3]
    assert parsed(7).otherwise(whole).setting == 7


def test_weights_of_a_constant_sum_are_divided_without_asking_for_the_depth():
    shares = normalised([parsed([1, 2, 0]), parsed([3, 2, 4])], asked, "models")
    assert [share.cases for share in shares] == [
        ((None, (0.25, 0.5, 0.0)),),
        ((None, (0.75, 0.5, 1.0)),),
    ]


def test_weights_whose_sum_changes_are_divided_block_by_block():
    first, second = normalised([parsed([1, 3, 0]), parsed(1)], lambda: BLOCKS, "models")
    weights = [1, 1 + 2 * 2 / 3, 3 - 3 / 3, 0]
    assert found(first, QUERIES) == pytest.approx([weight / (weight + 1) for weight in weights])
    assert found(second, QUERIES) == pytest.approx([1 / (weight + 1) for weight in weights])
    assert found(first, [WORDS, POOLER]) == [0.5, 0.5]


def test_weights_are_divided_under_each_filter_by_the_sum_there():
    filtered = parsed([{"filter": "query", "value": 3}, {"value": 0}])
    shares = normalised([filtered, parsed(1)], asked, "models")
    assert [found(share, [QUERIES[0], WORDS]) for share in shares] == [[0.75, 0], [0.25, 1]]


def test_weights_whose_sum_vanishes_are_left_alone():
    first, second = normalised([parsed(2), parsed(-2)], asked, "models")
    assert (first.setting, second.setting) == (2, -2)
    first, second = normalised([parsed([0, 1]), parsed([0, 3])], lambda: BLOCKS, "models")
    assert found(first, QUERIES) == pytest.approx([0, 0.25, 0.25, 0.25])


def test_sums_are_told_at_every_bend():
    assert sums([parsed([0, 1]), parsed([0, 1, 0])], "models") == pytest.approx((0, 1.5, 1))
    filtered = parsed([{"filter": "query", "value": 3}, {"value": 0}])
    assert sums([filtered, parsed(1)], "models") == (4, 1)


def test_numbers_are_taken_together_block_by_block():
    one = pointwise([parsed([0, 3]), parsed(2)], max, lambda: BLOCKS, "models")
    assert found(one, [*QUERIES, WORDS]) == pytest.approx([2, 2, 2, 3, 2])
    assert pointwise([parsed(1), parsed(2)], max, asked, "models").setting == 2


def test_it_vanishes_where_a_number_is_zero_or_the_sign_changes():
    assert [parsed(value).may_vanish for value in (0, 1, [1, 2], [0, 1], [-1, 1])] == [
        *(True, False, False, True, True)
    ]


def test_different_filters_cannot_be_taken_together():
    one, other = ([{"filter": text, "value": 1}, {"value": 2}] for text in ("query", "output"))
    with pytest.raises(EmbedmergeError, match="models: there are different filters"):
        normalised([parsed(one), parsed(other)], asked, "models")


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("much", "weight: 'much' is no finite number"),
        (True, "weight: True is no finite number"),
        (None, "weight: None is no finite number"),
        (float("nan"), "weight: nan is no finite number"),
        ([], "weight: the list is empty"),
        ([[1, 2]], r"weight: \[1, 2\] is no finite number"),
        ([0.5, {"value": 1}], r"weight\[0\]: 0.5 must be a `value`"),
        ([{"filter": "query"}], r"weight\[0\]: .* must be a `value`"),
        ([{"filtre": "query", "value": 1}], r"weight\[0\]: .* must be a `value` and"),
        ([{"filter": 3, "value": 1}], r"weight\[0\].filter: 3 must be text"),
        ([{"value": {"value": 1}}], r"weight\[0\].value: .* is no finite number"),
    ],
)
def test_all_else_is_refused(value, says):
    with pytest.raises(EmbedmergeError, match=says):
        parsed(value)
