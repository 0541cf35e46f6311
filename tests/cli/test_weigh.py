from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import yaml
from typer.testing import CliRunner

from embedmerge.cli import app

if TYPE_CHECKING:
    from pathlib import Path

runner = CliRunner()


def called(*arguments: object) -> tuple[int, str, str]:
    result = runner.invoke(app, [str(argument) for argument in arguments])
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture(scope="module")
def pair(base: Path, expert: Path) -> list[object]:
    return ["weigh", "--base", base, "--expert", f"legal={expert}", "--target", "legal"]


@pytest.fixture(scope="module")
def guard_text(tmp_path_factory: pytest.TempPathFactory, examples_file: Path) -> Path:
    rows = [json.loads(line) for line in examples_file.read_text().splitlines()]
    path = tmp_path_factory.mktemp("guard") / "general.txt"
    path.write_text("".join(passage + "\n" for row in rows for passage in row["neg"]))
    return path


def test_front_is_the_default(pair, guard_text, examples_file: Path, tmp_path: Path) -> None:
    kept = tmp_path / "choice.json"
    code, out, err = called(
        *pair, "--examples", examples_file, "--guard", guard_text, "--set", "guard.budget=0.5",
        "--json", "-o", kept,
    )  # fmt: skip
    assert code == 0, err
    found = json.loads(out)
    assert json.loads(kept.read_text()) == found
    assert list(found) == ["weights", "strategy", "losses", "losses_se", "parameters", "selection", "cost"]
    assert (found["strategy"], found["parameters"]) == ("front", None)
    assert sum(found["weights"].values()) == pytest.approx(1)
    selection = found["selection"]
    assert selection["objective"] == "loss"
    assert selection["guard"] == "the base's ranking of general.txt"
    assert selection["floor"] == "a divergence of at most 0.5 nats from the base"
    assert [candidate["name"] for candidate in selection["candidates"]] == [
        "base", "legal", "uniform", "cocktail", "placebo", "chosen",
    ]  # fmt: skip


def test_it_prints_weights_candidates_and_what_is_as_good(pair, collection, general_collection) -> None:
    code, out, err = called(
        *pair, "--examples", f"{collection}:dev", "--guard-task", f"{general_collection}:dev",
        "--objective", "ndcg_at_10", "--set", "guard={floor: 2}", "--set", "guard.most=10",
    )  # fmt: skip
    assert code == 0, err
    said = " ".join(out.split())
    assert "source weight as good loss" in said
    assert "at most 2 standard errors below the base, by nDCG@10 on general:dev (10 queries)" in said
    assert "Controls: uniform" in said
    assert max(len(line) for line in out.splitlines()) <= 80


def test_weights_are_chosen_for_the_method_that_is_named(pair, guard_text, examples_file: Path) -> None:
    asked = [
        *pair, "--examples", examples_file, "--guard", guard_text, "--set", "guard.budget=0.5", "--json",
    ]  # fmt: skip
    found = []
    for method in ([], ["--method", "iso_linear"], ["--method", "iso_linear", "--param", "evenness=0"]):
        code, out, err = called(*asked, *method)
        assert code == 0, err
        found.append(json.loads(out)["selection"]["candidates"][-1])
    plain, levelled, as_they_are = found
    assert levelled["target"] != plain["target"]
    assert as_they_are["weights"] == plain["weights"]


def test_cocktail_keeps_its_options(pair, examples_file: Path) -> None:
    cocktail = [*pair, "--strategy", "cocktail", "--examples", examples_file]
    code, out, err = called(*cocktail, "--temperature", "0.1", "--negatives", "3", "--seed", "5", "--json")
    assert code == 0, err
    found = json.loads(out)
    assert (found["strategy"], found["selection"]) == ("cocktail", None)
    code, out, err = called(*cocktail, "--reference")
    assert code == 0, err
    assert "loss" in out


def test_a_test_split_is_refused_unless_the_user_knows(pair, collection: Path, guard_text: Path) -> None:
    split = [*pair, "--examples", f"{collection}:test", "--guard", guard_text, "--set", "guard.budget=1"]
    code, _, err = called(*split)
    assert code == 2
    assert "a test split" in err
    code, out, err = called(*split, "--i-know-this-is-test-data")
    assert code == 0, err
    assert "may come from a test split" in " ".join(out.split())


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--set", "guard.budgett=1"], "guard.budgett: no such setting; did you mean 'budget'?"),
        (["--set", "most_exmples=1"], "most_exmples: no such setting; did you mean 'most_examples'?"),
        (["--temperature", "0.1"], "temperature: no such setting; cocktail has it"),
        (["--set", "guard.budget=-1"], "guard.budget: Input should be greater than or equal to 0"),
        (["--set", "guard.budget"], "must be KEY=VALUE, such as guard.budget=0.05"),
        (["--set", "rounds=[1"], "no value that YAML can read"),
        (["--set", "objective.x=1", "--objective", "loss"], "objective is given as a value too"),
        (
            ["--objective", "mrr"],
            "objective: Input should be 'ndcg_at_10', 'recall_at_100' or 'loss'",
        ),
        (["--method", "ties"], "with method breadcrumbs, dare_linear, iso_linear, linear or task_arithmetic"),
        (["--param", "density"], "must be NAME=VALUE"),
        (["--guard", "a.txt", "--guard-task", "b:dev"], "tasks and text are both given"),
    ],
)
def test_bad_settings_are_one_line(pair, examples_file: Path, options: list[str], says: str) -> None:
    code, out, err = called(*pair, "--examples", examples_file, *options)
    assert (code, out) == (2, ""), err
    assert says in err
    assert len(err.strip().splitlines()) == 1


def test_run_may_be_told_that_it_is_test_data(
    base: Path, expert: Path, collection: Path, guard_text: Path, tmp_path: Path
) -> None:
    weighting = {
        "strategy": "front",
        "examples": f"{collection}:test",
        "guard": {"text": str(guard_text), "budget": 1},
    }
    recipe = {"base": str(base), "experts": [{"path": str(expert), "role": "target"}], "weighting": weighting}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    command = ["run", tmp_path / "recipe.yaml", "-o", tmp_path / "run"]
    code, _, err = called(*command)
    assert (code, "a test split" in err) == (2, True)
    code, out, err = called(*command, "--i-know-this-is-test-data", "--json")
    assert code == 0, err
    found = json.loads(out)["weighting"]
    assert found["parameters"]["i_know_this_is_test_data"] is True
    assert found["selection"]["candidates"][-1]["name"] == "chosen"
    page = (tmp_path / "run" / "report.html").read_text()
    assert "How the weights were chosen" in page
    assert "i_know_this_is_test_data" in (tmp_path / "run" / "model" / "README.md").read_text()


def test_run_says_where_the_flag_means_nothing(base: Path, expert: Path, tmp_path: Path) -> None:
    recipe = {"base": str(base), "experts": [str(expert)], "weighting": {"strategy": "uniform"}}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    code, _, err = called(
        "run", tmp_path / "recipe.yaml", "-o", tmp_path / "run", "--i-know-this-is-test-data"
    )
    assert code == 0, err
    assert "note: --i-know-this-is-test-data: strategy uniform has no such setting" in err
