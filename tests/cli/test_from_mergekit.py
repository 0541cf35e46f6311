from __future__ import annotations

import json

import pytest
import yaml
from safetensors.numpy import load_file
from sentence_transformers import SentenceTransformer
from typer.testing import CliRunner

from embedmerge.cli import app
from embedmerge.recipe import parse_recipe

runner = CliRunner()


def called(*arguments):
    result = runner.invoke(app, [str(argument) for argument in arguments])
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def ties(base, expert, peer, tmp_path):
    """mergekit's YAML beside links to its models."""
    for name, folder in (("base", base), ("legal", expert), ("code", peer)):
        (tmp_path / name).symlink_to(folder)
    content = {
        "merge_method": "ties",
        "base_model": "base",
        "models": [
            {"model": "legal", "parameters": {"weight": 1, "density": 0.5}},
            {"model": "code", "parameters": {"weight": 1, "density": 0.5}},
        ],
        "dtype": "float32",
    }
    path = tmp_path / "merge.yml"
    path.write_text(yaml.safe_dump(content))
    return path


def test_a_yaml_of_mergekit_is_merged_and_what_differs_is_said(ties, tmp_path):
    code, out, err = called("merge", "--from-mergekit", ties, "-o", tmp_path / "out")
    recipe, _, summary = out.partition("\n\n")
    assert code == 0, err
    assert parse_recipe(yaml.safe_load(recipe)).method.parameters["density"] == 0.5
    assert summary == f"{tmp_path / 'out'}: ties, base 0, legal 0.5, code 0.5\n"
    assert "differs from mergekit: where weighted changes cancel out" in err
    assert SentenceTransformer(str(tmp_path / "out"), device="cpu").encode("river").shape == (32,)


def test_options_that_say_the_same_give_the_same_bytes(ties, base, expert, peer, tmp_path):
    code, out, _ = called("merge", "--from-mergekit", ties, "-o", tmp_path / "out", "--json")
    found = json.loads(out)
    assert code == 0
    assert found["recipe"]["weighting"] == {"weights": {"legal": 0.5, "code": 0.5}}
    assert any("mergekit writes a folder without modules" in note for note in found["notes"])
    code, out, _ = called(
        "merge", "--base", base, "--expert", f"legal={expert}", "--expert", f"code={peer}",
        "--method", "ties", "--param", "density=0.5", "--param", "scope=tensor", "--weights", "0,0.5,0.5",
        "-o", tmp_path / "same", "--json",
    )  # fmt: skip
    assert code == 0
    assert json.loads(out)["sha256"] == found["sha256"]
    assert load_file(tmp_path / "same" / "model.safetensors").keys()


def test_the_recipe_alone_is_printed_and_nothing_written(ties, tmp_path):
    before = sorted(tmp_path.iterdir())
    code, out, _ = called("merge", "--from-mergekit", ties, "--recipe-only")
    assert code == 0
    recipe = parse_recipe(yaml.safe_load(out))
    assert [source.name for source in recipe.sources()] == ["base", "legal", "code"]
    code, out, _ = called("merge", "--from-mergekit", ties, "--recipe-only", "--json")
    assert json.loads(out).keys() == {"recipe", "notes"}
    assert parse_recipe(json.loads(out)["recipe"]) == recipe
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--base", "x"], "--base: the YAML of --from-mergekit says it"),
        (["--expert", "x"], "--expert: the YAML of --from-mergekit says it"),
        (["--weights", "0.5,0.5"], "--weights: the YAML of --from-mergekit says it"),
        (["--method", "linear"], "--method: the YAML of --from-mergekit says it"),
        (["--param", "density=1"], "--param: the YAML of --from-mergekit says it"),
        (["--dtype", "float16"], "--dtype: the YAML of --from-mergekit says it"),
        (["--normalise"], "`normalise` is given without `pooling`"),
    ],
)
def test_what_the_yaml_says_must_not_be_said_again(arguments, says, ties, tmp_path):
    code, _, err = called("merge", "--from-mergekit", ties, "-o", tmp_path / "out", *arguments)
    assert (code, len(err.strip().splitlines())) == (2, 1), err
    assert says in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--expert", "x", "-o", "out"], "--base: missing"),
        (["--base", "x", "--expert", "y"], "-o: missing; name the folder to create"),
        (["--base", "x", "--expert", "y", "-o", "out", "--recipe-only"], "--recipe-only: prints what"),
        (["--from-mergekit", "none.yml", "-o", "out"], "none.yml: no such file"),
    ],
)
def test_what_is_missing_is_named_in_one_line(arguments, says):
    code, out, err = called("merge", *arguments)
    assert (code, out, len(err.strip().splitlines())) == (2, "", 1), err
    assert says in err


def test_the_folder_to_create_is_asked_for_with_a_yaml_too(ties):
    code, _, err = called("merge", "--from-mergekit", ties)
    assert (code, err) == (2, "error: -o: missing; name the folder to create\n")
