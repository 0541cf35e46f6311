from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from embedmerge.errors import EmbedmergeError
from embedmerge.recipe import load_recipe, parse_recipe, read_suite

if TYPE_CHECKING:
    from pathlib import Path

GOOD = """
base: BAAI/bge-small-en-v1.5
experts:
  - path: my-org/legal
    role: target
  - path: my-org/medical
    revision: 0123abc
    name: doctors
weighting:
  strategy: cocktail
  examples: few.jsonl
evaluation:
  target: [legal:test]
  general: [NFCorpus]
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(text)
    return path


def test_a_recipe_names_its_sources_base_first(tmp_path: Path) -> None:
    recipe = load_recipe(written(tmp_path, GOOD))
    assert [(spec.name, spec.role, spec.revision) for spec in recipe.sources()] == [
        ("base", "base", None),
        ("legal", "target", None),
        ("doctors", "peer", "0123abc"),
    ]
    assert recipe.fine_tune == "legal"
    assert recipe.title == "recipe"


def test_paths_beside_the_recipe_hold_from_anywhere(tmp_path: Path) -> None:
    (tmp_path / "my-org" / "legal").mkdir(parents=True)
    (tmp_path / "legal").mkdir()
    recipe = load_recipe(written(tmp_path, GOOD))
    assert recipe.experts[0].path == str(tmp_path / "my-org" / "legal")
    assert recipe.experts[1].path == "my-org/medical"
    assert recipe.weighting.examples_file == str(tmp_path / "few.jsonl")
    assert recipe.evaluation.target == (f"{tmp_path / 'legal'}:test",)
    assert recipe.evaluation.general == ("NFCorpus",)


def test_environment_variables_are_filled_in(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(os.environ, "SOMEWHERE", "/data")
    recipe = load_recipe(written(tmp_path, GOOD.replace("legal:test", "$SOMEWHERE/legal:test")))
    assert recipe.evaluation.target == ("/data/legal:test",)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("role: target", "rol: target", "experts.0.rol: unknown key; did you mean 'role'?"),
        ("examples:", "exampels:", "weighting.exampels: unknown key; did you mean 'examples'?"),
        ("evaluation:", "evalution:", "evalution: unknown key; did you mean 'evaluation'?"),
        ("general:", "zzz:", "evaluation.zzz: unknown key; the keys here are target, general, suite"),
        ("experts:", "expert:", "expert: unknown key; did you mean 'experts'?"),
        ("role: target", "role: best", "experts.0.role: Input should be 'target' or 'peer' (found 'best')"),
        ("  examples: few.jsonl\n", "", "weighting.examples: missing, and needed"),
        ("strategy: cocktail", "strategy: frontier", "weighting: give `weights`, or a `strategy` of"),
        ("name: doctors", "name: legal", "experts: 'legal' names two sources"),
        ("name: doctors", "name: merged", "experts: 'merged' is a name of the report's"),
        ("revision: 0123abc", "role: target", "experts: two have the role target"),
        ("base: BAAI/bge-small-en-v1.5", "base: [", ": not valid YAML"),
        ("base: BAAI/bge-small-en-v1.5\n", "", "base: missing, and needed"),
        ("weighting:", "method: dare-ties\nweighting:", "method 'dare-ties': no such merging method"),
        (
            "weighting:",
            "method: {name: linear, parameters: {densty: 1}}\nweighting:",
            "method linear: no parameter 'densty'",
        ),
    ],
)
def test_a_fault_is_one_line_that_names_file_and_key(tmp_path: Path, old: str, new: str, says: str) -> None:
    path = written(tmp_path, GOOD.replace(old, new, 1))
    with pytest.raises(EmbedmergeError) as caught:
        load_recipe(path)
    assert str(caught.value).startswith(str(path))
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("weights", "says"),
    [
        ("{base: 0.5, e: 0.4}", "must be 1"),
        ("{other: 0.5}", "no source is named 'other'"),
        ("{base: 1.0}", "no weight for e"),
    ],
)
def test_weights_are_checked_before_any_model_is_opened(tmp_path: Path, weights: str, says: str) -> None:
    text = f"base: nowhere/b\nexperts: [nowhere/e]\nweighting: {{weights: {weights}}}\n"
    with pytest.raises(EmbedmergeError, match=says):
        load_recipe(written(tmp_path, text))


def test_missing_and_non_mapping_files(tmp_path: Path) -> None:
    with pytest.raises(EmbedmergeError, match="no such file"):
        load_recipe(tmp_path / "none.yaml")
    with pytest.raises(EmbedmergeError, match="not a mapping"):
        load_recipe(written(tmp_path, "- a\n"))


def test_a_recipe_survives_its_own_dump() -> None:
    recipe = parse_recipe({"base": "b", "experts": ["e"], "weighting": {"strategy": "uniform"}})
    assert parse_recipe(recipe.model_dump(mode="json")) == recipe


def test_a_suite_names_tasks_beside_it(tmp_path: Path) -> None:
    (tmp_path / "law").mkdir()
    (tmp_path / "suite.yaml").write_text("target: [law]\ngeneral: [NFCorpus]\n")
    suite = read_suite(tmp_path / "suite.yaml")
    assert (suite.target, suite.general) == ((str(tmp_path / "law"),), ("NFCorpus",))
    (tmp_path / "suite.yaml").write_text("targets: [law]\n")
    with pytest.raises(EmbedmergeError, match="did you mean 'target'"):
        read_suite(tmp_path / "suite.yaml")
