from __future__ import annotations

import json

import pytest

from embedmerge.errors import EmbedmergeError
from embedmerge.merging.per_expert import as_settings, of_expert, require_named, together


@pytest.mark.parametrize("setting", [0.3, [0.1, 0.5], {"block 0": 0.1, "*": [0.2, 0.4]}])
def test_what_names_no_expert_is_for_all_of_them(setting):
    settings = as_settings(setting, "density")
    assert settings == setting
    assert of_expert(settings, "legal") == of_expert(settings, "code") == setting


def test_what_stands_under_an_expert_is_its_own_and_the_rest_of_all_others():
    given = {
        "block 0": 1,
        "expert legal": "1e-3",
        " expert  my code ": {"block 3": 0.1, "*": [0, 1]},
        "*": 0.2,
    }
    settings = as_settings(given, "density")
    assert of_expert(settings, "legal") == 1e-3
    assert of_expert(settings, "my code") == {"block 3": 0.1, "*": [0.0, 1.0]}
    assert of_expert(settings, "news") == {"block 0": 1.0, "*": 0.2}


def test_where_experts_alone_are_named_nothing_is_said_of_the_others():
    assert of_expert(as_settings({"expert legal": 0.3}, "density"), "code") == {}


def test_checked_settings_survive_json_and_a_second_check():
    settings = as_settings({"*": 0.2, "expert legal": {"blocks 0-3": [0.1, 0.9]}}, "density")
    assert as_settings(json.loads(json.dumps(settings)), "density") == settings


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"expert legal": {}}, "density: expert legal: {} is no finite number"),
        ({"expert legal": None, "*": 0.1}, "density: expert legal: None is no finite number"),
        ({"expert legal": 0.1, "*": "much"}, "density: {'*': 'much'} is no finite number"),
        ({"expert legal": {"expert code": 0.1}}, "density: expert legal: experts are not told apart here"),
        ({}, "density: {} is no finite number"),
    ],
)
def test_what_is_no_setting_is_refused_in_one_line_that_says_where(given, says):
    with pytest.raises(EmbedmergeError) as caught:
        as_settings(given, "density")
    assert str(caught.value).startswith(says)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("selector", "says"),
    [
        ("expert lgeal", "density: no expert is named 'lgeal'; did you mean 'legal'?"),
        ("expert base", "density: no expert is named 'base'; there are: legal, code"),
        ("expert", "density: no expert is named ''; there are: legal, code"),
    ],
)
def test_an_expert_that_there_is_none_of_is_refused_and_the_nearest_named(selector, says):
    settings = as_settings({selector: 0.1, "*": 0.2}, "density")
    with pytest.raises(EmbedmergeError) as caught:
        require_named(settings, ["legal", "code"], "density")
    assert str(caught.value) == says


def test_experts_that_there_are_may_be_named():
    for settings in (0.1, {"block 0": 0.1}, {"expert legal": 0.1}, {"expert legal": 0.1, "expert code": 0.2}):
        require_named(settings, ["legal", "code"], "density")


def test_settings_by_name_come_to_one_where_they_are_equal_and_are_told_apart_where_not():
    assert together({"legal": [0.1, 0.2], "code": [0.1, 0.2]}) == [0.1, 0.2]
    settings = together({"legal": {"*": 0.1}, "my code": 0.2})
    assert as_settings(settings, "density") == settings
    assert of_expert(settings, "legal") == {"*": 0.1}
    assert of_expert(settings, "my code") == 0.2
