from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from embedmerge.cli import app
from embedmerge.merging.modifiers import HELP
from embedmerge.merging.registry import methods

NAMES = set(methods())


def called(*arguments, columns=100):
    result = CliRunner().invoke(app, ["methods", *arguments], env={"COLUMNS": str(columns)})
    return result.exit_code, result.stdout, result.stderr


@pytest.mark.parametrize("columns", [80, 120])
def test_every_method_is_listed_with_its_parameters_and_its_source(columns):
    code, out, _ = called(columns=columns)
    listed = " ".join(out.split())
    assert code == 0
    assert {line.split()[0] for line in out.splitlines() if line.partition(" ")[0] in NAMES} == NAMES
    assert max(map(len, out.splitlines())) <= columns
    for spec in methods().values():
        assert spec.citation in listed
        for name in spec.parameters:
            assert f"{name} " in listed


def test_one_method_is_explained_with_the_modifiers():
    code, out, _ = called("della")
    shown = " ".join(out.split())
    assert code == 0
    assert "epsilon 0.15 between 0 and 1" in shown
    assert "inverse, l1, none" in shown
    assert "one for all tensors" in shown
    assert "mean share of the elements that is kept (may differ from expert to expert)" in shown
    for modifier in HELP:
        assert f"\n{modifier}" in out


@pytest.mark.parametrize(
    ("name", "needs"),
    [
        ("fisher", "unlabelled text"),
        ("opcm", "an order of the experts"),
        ("slerp", "exactly 1 expert, weights"),
        ("nuslerp", "exactly 2 experts"),
        ("model_stock", "at least 2 experts"),
        ("ties", "one expert or more"),
    ],
)
def test_what_a_method_needs_is_said(name, needs):
    assert f"needs {needs}\n" in called(name)[1]


def test_json_says_everything_a_program_needs():
    code, out, _ = called("--json")
    found = json.loads(out)
    assert code == 0
    assert {method["name"] for method in found["methods"]} == NAMES
    assert found["modifiers"] == HELP
    by_name = {method["name"]: method for method in found["methods"]}
    assert by_name["ties"]["parameters"]["density"] == {
        "default": 0.2,
        "help": "share of each task vector's elements that is kept",
        "low": 0,
        "high": 1,
        "choices": None,
        "per_tensor": True,
        "per_expert": True,
    }
    assert by_name["pcb"]["parameters"]["density"]["per_expert"] is False
    assert by_name["nuslerp"]["experts"] == [2, 2]
    assert by_name["regmean"]["statistics"] == "gram"
    assert [method["name"] for method in json.loads(called("opcm", "--json")[1])["methods"]] == ["opcm"]


def test_an_unknown_method_is_one_line():
    code, out, err = called("tise")
    assert (code, out) == (2, "")
    assert err.strip() == "error: method 'tise': no such merging method; did you mean 'ties'?"
