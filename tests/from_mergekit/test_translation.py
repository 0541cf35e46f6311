from __future__ import annotations

import pytest
import yaml

from embedmerge.errors import EmbedmergeError
from embedmerge.from_mergekit.translation import translate
from embedmerge.recipe import load_recipe

TIES = {
    "merge_method": "ties",
    "base_model": "org/base@main",
    "models": [
        {"model": "org/base@main"},
        {"model": "org/legal@v1", "parameters": {"weight": 1, "density": 0.5}},
        {"model": "org/code", "parameters": {"weight": 3, "density": 0.5}},
    ],
    "parameters": {"normalize": True, "lambda": 0.8, "int8_mask": True},
    "dtype": "float32",
    "out_dtype": "bfloat16",
}


@pytest.fixture
def translated(tmp_path):
    def translated(content, **stated):
        (tmp_path / "merge.yml").write_text(yaml.safe_dump(content))
        return translate(tmp_path / "merge.yml", **stated)

    return translated


def test_a_configuration_becomes_a_recipe(translated):
    assert translated(TIES).recipe == {
        "base": {"path": "org/base", "revision": "main"},
        "experts": [
            {"path": "org/legal", "revision": "v1", "name": "legal"},
            {"path": "org/code", "name": "code"},
        ],
        "method": {
            "name": "ties",
            "parameters": {"density": 0.5, "scope": "tensor", "agg": "mean", "scale": 0.8},
            "dtype": "bfloat16",
        },
        "weighting": {"weights": {"legal": 0.25, "code": 0.75}},
    }


def test_a_density_of_each_model_goes_by_the_name_of_its_expert(translated):
    models = [
        {"model": "org/base@main", "parameters": {"density": 0.1}},  # has no effect in mergekit
        {"model": "org/legal@v1", "parameters": {"weight": 1, "density": [1, 0.7, 0.1]}},
        {"model": "other/legal", "parameters": {"weight": 1, "density": 0.5}},
        {"model": "org/code", "parameters": {"weight": 1, "density": [{"filter": "output", "value": 0.2}]}},
        {"model": "org/news", "parameters": {"weight": 1}},
    ]
    for method in ("ties", "dare_linear", "dare_ties"):
        content = {**TIES, "merge_method": method, "models": models, "parameters": {}}
        assert translated(content).recipe["method"]["parameters"]["density"] == {
            "expert legal": {"blocks 0-999": [1, 0.7, 0.1], "*": 1},
            "expert legal-2": 0.5,
            "expert code": {"*output*": 0.2, "*": 1},
            "expert news": 1,
        }


DIFFERENT = {**TIES, "models": [*TIES["models"][:2], {"model": "org/code", "parameters": {"weight": 1}}]}


@pytest.mark.parametrize("content", [TIES, DIFFERENT])
def test_the_recipe_is_one_that_run_reads(content, translated, tmp_path):
    translation = translated(content)
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(translation.recipe))
    loaded = load_recipe(tmp_path / "recipe.yaml")
    assert loaded.sources() == translation.parsed.sources()
    assert loaded.method == translation.parsed.method
    assert loaded.weighting == translation.parsed.weighting


def test_weights_of_a_sum_other_than_1_are_kept_and_the_base_takes_what_is_left(translated):
    content = {**TIES, "merge_method": "task_arithmetic", "parameters": {}}
    recipe = translated(content).recipe
    assert recipe["weighting"]["weights"] == {"legal": 1, "code": 3}
    assert recipe["method"] == {"name": "task_arithmetic", "dtype": "bfloat16"}


def test_the_first_model_of_a_linear_merge_without_base_is_the_base(translated):
    models = [{"model": name, "parameters": {"weight": 1}} for name in ("org/a", "org/b")]
    recipe = translated({"merge_method": "linear", "models": models}).recipe
    assert recipe["base"] == {"path": "org/a"}
    assert recipe["weighting"]["weights"] == {"b": 0.5}


def test_names_that_are_taken_get_a_number(translated):
    paths = ["x/legal", "y/legal", "z/legal", "x/base", "x/merged"]
    models = [{"model": path, "parameters": {"weight": 0.1}} for path in paths]
    content = {**TIES, "merge_method": "task_arithmetic", "models": models, "parameters": {}}
    names = [expert["name"] for expert in translated(content).recipe["experts"]]
    assert names == ["legal", "legal-2", "legal-3", "base-2", "merged-2"]


def test_how_the_base_pools_may_be_stated(translated):
    recipe = translated(TIES, pooling="cls", normalise=False).recipe
    assert recipe["base"] == {
        "path": "org/base",
        "revision": "main",
        "pooling": "cls",
        "normalise": False,
    }


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (
            {key: value for key, value in TIES.items() if key != "base_model"},
            "base_model: missing, and ties needs it",
        ),
        ({**TIES, "models": TIES["models"][:1]}, "models: the base alone"),
    ],
)
def test_what_has_no_base_or_no_expert_is_refused_by_the_file_s_name(content, says, translated):
    with pytest.raises(EmbedmergeError, match=rf"merge\.yml: {says}"):
        translated(content)
