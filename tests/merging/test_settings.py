from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedmerge.errors import EmbedmergeError
from embedmerge.merging.anatomy import Site
from embedmerge.merging.settings import as_setting, fits, numbers_in, resolve

BLOCKS = 5
SITES = [Site.of(f"encoder.layer.{block}.output.dense.weight", (4, 4), BLOCKS) for block in range(BLOCKS)]
WORDS = Site.of("embeddings.word_embeddings.weight", (9, 4), BLOCKS)
POOLER = Site.of("pooler.dense.weight", (4, 4), BLOCKS)

numbers = st.floats(-10, 10)


def test_one_number_holds_for_every_tensor():
    assert {resolve(0.3, site, 1.0) for site in (*SITES, WORDS, POOLER)} == {0.3}


@given(st.lists(numbers, min_size=1, max_size=7))
def test_a_list_is_spread_evenly_over_the_depth_with_straight_lines_between(values):
    places = np.linspace(0, 1, len(values)) if len(values) > 1 else [0.0]
    for block, site in enumerate(SITES):
        wanted = np.interp(block / (BLOCKS - 1), places, values)
        assert resolve(values, site, 1.0) == pytest.approx(wanted, abs=1e-9)
    assert resolve(values, WORDS, 1.0) == values[0]
    assert resolve(values, POOLER, 1.0) == values[-1]


def test_the_first_selector_that_fits_counts():
    setting = {"block 1": 0.1, "blocks 0-2": 0.2, "*dense*": 0.3, "*": 0.4}
    found = [resolve(setting, site, 9.0) for site in (*SITES, WORDS, POOLER)]
    assert found == [0.2, 0.1, 0.2, 0.3, 0.3, 0.4, 0.3]


def test_the_default_holds_where_no_selector_fits():
    assert resolve({"block 1": 0.1}, SITES[0], 9.0) == 9.0
    assert resolve({"blocks 0-4": 0.1}, WORDS, 9.0) == 9.0


def test_a_selector_may_stand_before_a_list():
    setting = {"*.output.*": [0.0, 1.0], "*": 7.0}
    assert resolve(setting, SITES[1], 9.0) == 0.25
    assert resolve(setting, POOLER, 9.0) == 7.0


@pytest.mark.parametrize(
    ("selector", "named"),
    [
        ("block 3", {3}),
        ("blocks 1-3", {1, 2, 3}),
        ("blocks 1 - 3", {1, 2, 3}),
        (" block 0 ", {0}),
        ("blocks 4", {4}),
        ("block 10", set()),
        ("blocks 3-1", set()),
        ("encoder.layer.[12].*", {1, 2}),
        ("blocks 1-3 *.output.*", {1, 2, 3}),
        ("block 2  *.weight", {2}),
        ("blocks 1-3 *.attention.*", set()),
        ("*.weight", {0, 1, 2, 3, 4}),
        ("*.Weight", set()),
        ("output", set()),
        ("blocks 1-3 *.output.*", {1, 2, 3}),
        ("block 2 encoder.layer.[12].*", {2}),
        ("block 2 *.attention.*", set()),
    ],
)
def test_selectors_name_blocks_or_match_whole_names(selector, named):
    assert {site.block for site in SITES if fits(selector, site)} == named


def test_no_block_has_the_tensors_outside_of_the_blocks():
    assert not fits("blocks 0-99", WORDS)
    assert not fits("blocks 0-99 *", WORDS)
    assert not fits("block 0", Site.of("layers.0.weight", (4, 4), BLOCKS, head=True))


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        (1, 1.0),
        ("1e-3", 1e-3),
        ([0, "0.5", 1], [0.0, 0.5, 1.0]),
        ({"block 0": 1, "*": [0, 2]}, {"block 0": 1.0, "*": [0.0, 2.0]}),
        ({3: 0.5}, {"3": 0.5}),
    ],
)
def test_what_is_written_comes_to_floats(given, taken):
    assert as_setting(given, "density") == taken


@pytest.mark.parametrize(
    "given",
    [
        *(None, True, "", "much", math.nan, math.inf, "nan", "inf", 10**400, (1, 2)),
        *([], [1, None], [[1]], {}, {"*": None}, {"*": {"*": 1}}, {"block 0": 1, "*": []}, {"*": [True]}),
    ],
)
def test_all_else_is_refused_in_one_line_that_says_what_is_wanted(given):
    with pytest.raises(EmbedmergeError) as caught:
        as_setting(given, "density")
    message = str(caught.value)
    assert message.startswith(f"density: {given!r} is no finite number; ")
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize("selector", ["expert legal", " expert  legal", "expert"])
def test_an_expert_is_no_selector(selector):
    with pytest.raises(EmbedmergeError, match=f"density: experts are not told apart here; .*{selector}"):
        as_setting({selector: 0.1, "*": 0.2}, "density")
    assert as_setting({"experts.0.*": 0.1}, "density") == {"experts.0.*": 0.1}


def test_every_number_of_a_setting_is_told():
    assert numbers_in(0.5) == (0.5,)
    assert numbers_in([0.5, 0.1]) == (0.5, 0.1)
    assert numbers_in({"block 0": 0.5, "*": [0.1, 0.2]}) == (0.5, 0.1, 0.2)
    assert numbers_in({"expert legal": {"block 0": 0.5, "*": [0.1, 0.2]}, "*": 3.0}) == (0.5, 0.1, 0.2, 3.0)
