from __future__ import annotations

import dataclasses

import pytest
import yaml

from embedmerge.report.redaction import HIDDEN, hide_paths, hide_paths_in_yaml, hub_id


@pytest.mark.parametrize(
    "text",
    [
        "/home/ada/x.jsonl",
        "at:/home/ada/x.jsonl",
        "'/home/ada/x.jsonl'",
        "(~/ada/x)",
        "C:\\Users\\ada\\x",
        "C:/Users/ada/x",
        "\\\\server\\ada",
        "./ada/x",
        "../ada",
        "file:///home/ada",
        "/home/ada/models/run 1",
    ],
)
def test_paths_go(make_report, text):
    hidden = hide_paths(f"see {text} now", make_report())
    assert "ada" not in hidden
    assert HIDDEN in hidden
    assert hidden.endswith("now")


@pytest.mark.parametrize(
    "text",
    ["https://example.org/a/b", "BAAI/bge-small-en", "and/or", "3/4 of it", "a / b", "data/scifact", "</b>"],
)
def test_what_is_no_path_stays(make_report, text):
    assert hide_paths(f"see {text} now", make_report()) == f"see {text} now"


@pytest.mark.parametrize(
    ("location", "revision", "is_hub"),
    [
        ("BAAI/bge", "abc", True),
        ("BAAI/bge", None, False),
        ("/home/x", "abc", False),
        ("./x/y", "abc", False),
        ("../x", "abc", False),
        ("a/b/c", "abc", False),
        ("bge", "abc", False),
    ],
)
def test_hub_id(make_report, location, revision, is_hub):
    source = dataclasses.replace(make_report().sources[0], location=location, revision=revision)
    assert hub_id(source) == (location if is_hub else None)


def test_a_recipe_without_paths_is_untouched(make_report):
    recipe = "# kept\nsources: {base: BAAI/model-0}\n"
    assert hide_paths_in_yaml(recipe, make_report()) == recipe


def test_a_recipe_stays_yaml_with_paths_hidden(make_report):
    recipe = "b: '/home/ada/with space/x'\na: [/home/ada/models/run 1, 3]  # in /home/ada\n"
    hidden = hide_paths_in_yaml(recipe, make_report())
    assert "ada" not in hidden
    assert yaml.safe_load(hidden) == {"b": HIDDEN, "a": [HIDDEN, 3]}
    assert hidden.startswith("b:")


def test_of_a_file_in_a_folder_its_name_is_left(make_report):
    recipe = "examples: clients/acme/train.jsonl\nbase: BAAI/bge-small\nguard: guard.txt\n"
    hidden = yaml.safe_load(hide_paths_in_yaml(recipe, make_report()))
    assert hidden == {"examples": "train.jsonl", "base": "BAAI/bge-small", "guard": "guard.txt"}
