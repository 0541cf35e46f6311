from __future__ import annotations

from pathlib import Path

import pytest

from embedmerge.from_mergekit import notes
from embedmerge.from_mergekit.configuration import parse_configuration
from embedmerge.from_mergekit.notes import notes_on


def noted(method="linear", *, base="org/base", weight=1, **keys):
    models = [{"model": "org/legal", "parameters": {} if method == "slerp" else {"weight": weight}}]
    content = {"merge_method": method, "base_model": base, "models": models, "dtype": "float32", **keys}
    found = notes_on(parse_configuration(content, Path("nowhere")))
    assert found[: len(notes.ALWAYS)] == notes.ALWAYS
    return found[len(notes.ALWAYS) :]


def test_a_plain_merge_differs_in_its_files_alone():
    assert noted("linear") == noted("task_arithmetic") == noted("dare_linear") == ()


@pytest.mark.parametrize(
    ("note", "given"),
    [
        (notes.NO_BASE, {"base": None}),
        (notes.NO_DTYPE, {"dtype": None}),
        (notes.TOKENIZER, {"tokenizer_source": "base"}),
        (notes.FORCED, {"base": {"model": "org/base", "override_architecture": "MPNetModel"}}),
        (notes.FILTERED, {"weight": [{"filter": "query", "value": 1}, {"value": 0}]}),
        (notes.NO_DIRECTION, {"method": "slerp", "parameters": {"t": 0.5}}),
        (notes.NO_SIGN, {"method": "ties"}),
        (notes.NO_SIGN, {"method": "dare_ties"}),
        (notes.DROPPED, {"method": "dare_linear", "parameters": {"density": 0.5}}),
        (notes.UNUSED.format(name="rescale"), {"method": "task_arithmetic", "parameters": {"rescale": True}}),
    ],
)
def test_a_difference_that_may_show_is_noted(note, given):
    assert noted(**given) == (note,)


def test_a_threshold_is_noted_where_something_is_trimmed():
    assert noted("ties", parameters={"density": 0.5}) == (notes.NO_SIGN, notes.TRIMMED)


def test_rounding_is_noted_with_the_types():
    (note,) = noted(dtype="bfloat16", out_dtype="float16")
    assert "rounded once to float16; mergekit rounds them to bfloat16 before" in note
    assert noted(dtype="float32", out_dtype="float16") == ()


def test_what_stands_at_the_base_without_effect_is_noted():
    models = [
        {"model": "org/base", "parameters": {"weight": 0.5}},
        {"model": "org/legal", "parameters": {"weight": 1}},
    ]
    assert noted("task_arithmetic", models=models) == (notes.BASE_S_OWN.format(name="weight"),)
