"""Tune, weigh, merge and check in one command."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from tuning_parts import PREPARATION, SETTINGS, files, write_rows
from typer.testing import CliRunner
from words import write_collection

import embedmerge
from embedmerge.cli import app
from embedmerge.errors import EmbedmergeError
from embedmerge.retrieval.collection import read_collection
from embedmerge.tuning.same_text import comparable

ARGUMENTS = (
    *("--steps", "4", "--evaluations", "2", "--batch-size", "8", "--learning-rate", "3e-3"),
    *(
        "--max-seq-length",
        "24",
        "--precision",
        "fp32",
        "--held-out",
        "0.2",
        "--examples",
        "0.2",
        "--margin",
        "0",
    ),
)


@pytest.fixture(scope="module")
def guard_file(general_collection: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("guard") / "general.txt"
    path.write_text("".join(f"{text}\n" for text in read_collection(general_collection).texts.values()))
    return path


def queries(folder: Path, split: str) -> set[str]:
    return {comparable(query["text"]) for query in read_collection(folder, split).queries}


def test_one_command_ends_in_a_run_folder(
    learner: Path, law: Path, general_collection: Path, guard_file: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "law"
    asked = [
        "tune", learner, law, "-o", folder, "--resilient", "--average", *ARGUMENTS,
        "--general", f"{general_collection}:test", "--guard", guard_file, "--json",
    ]  # fmt: skip
    result = CliRunner().invoke(app, [str(argument) for argument in asked])
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    assert {"model", "report.html", "report.json", "recipe.lock.yaml", "weights.json"} <= {
        path.name for path in folder.iterdir()
    }
    assert json.loads((folder / "report.json").read_text()) == found["report"]
    expert = Path(found["model"])
    assert expert == tmp_path / "law-tuning" / "expert" and (expert / "tuning.json").is_file()

    lock = yaml.safe_load((folder / "recipe.lock.yaml").read_text())
    others = [2, 4]
    others.remove(found["tuning"]["step"])
    names = [source["name"] for source in lock["sources"]]
    assert names == ["base", "tuned", *(f"step-{step:06d}" for step in others)]
    assert lock["recipe"]["weighting"]["strategy"] == "front"
    assert {(task["name"], task["split"], task["side"]) for task in lock["tasks"]} == {
        ("law", "test", "target"), (general_collection.name, "test", "general"),
    }  # fmt: skip

    work = tmp_path / "law-tuning"
    stopped_by, chosen_on = queries(work / "held-out", "dev"), queries(work / "examples", "dev")
    tested = queries(law, "test") | queries(general_collection, "test")
    assert len(stopped_by) == len(chosen_on) == 8 and not stopped_by & chosen_on
    assert not (stopped_by | chosen_on) & tested
    assert found["tuning"]["counts"]["training queries"] == 24

    before = files(folder)
    again = CliRunner().invoke(app, [str(argument) for argument in asked])
    assert again.exit_code == 0 and json.loads(again.stdout) == found
    assert files(folder) == before


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"general": ()}, "general: nothing stands for general quality; name tasks with --general"),
        ({"strategy": "luck"}, "strategy: 'luck' found"),
        ({"method": "ties"}, "for ties search with cma, optuna or map"),
        ({"method": "iso"}, "no such merging method"),
        ({"general": ("./nowhere",)}, "no such folder"),
    ],
)
def test_what_the_checks_lack_is_said_before_tuning(
    learner: Path, law: Path, general_collection: Path, tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    checks = replace(embedmerge.Checks(general=(f"{general_collection}:test",)), **change)
    with pytest.raises(EmbedmergeError, match=words):
        embedmerge.tune(str(learner), str(law), tmp_path / "law", SETTINGS, PREPARATION, resilient=checks)
    assert not list(tmp_path.iterdir())


def test_a_file_needs_a_target_to_be_checked_on(
    learner: Path, general_collection: Path, lawful_rows: list[dict[str, Any]], tmp_path: Path
) -> None:
    path = write_rows(tmp_path / "rows.jsonl", lawful_rows)
    checks = embedmerge.Checks(general=(f"{general_collection}:test",))
    with pytest.raises(EmbedmergeError, match="has no test split to check the target on; name a task"):
        embedmerge.tune(str(learner), str(path), tmp_path / "law", SETTINGS, PREPARATION, resilient=checks)


def test_nothing_that_is_checked_may_be_tuned_on(
    learner: Path, law: Path, lawful_rows: list[dict[str, Any]], tmp_path: Path
) -> None:
    """A general task asks what a training query asks."""
    other = write_collection(tmp_path / "other", seed=3)
    asked = json.loads((other / "queries.jsonl").read_text().splitlines()[0])["text"]
    path = write_rows(tmp_path / "rows.jsonl", [{**lawful_rows[0], "query": asked}, *lawful_rows[1:]])
    checks = embedmerge.Checks(target=(f"{law}:test",), general=(f"{other}:test",))
    guarded = replace(checks, general=(f"{law}:dev",), guard={"tasks": [f"{other}:test"]})
    with pytest.raises(EmbedmergeError, match="1 in guard other:test"):
        embedmerge.tune(str(learner), str(path), tmp_path / "law", SETTINGS, PREPARATION, resilient=guarded)
    with pytest.raises(EmbedmergeError, match="1 in other:test"):
        embedmerge.tune(str(learner), str(path), tmp_path / "law", SETTINGS, PREPARATION, resilient=checks)
