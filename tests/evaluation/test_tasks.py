from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from embedmerge.errors import EmbedmergeError
from embedmerge.evaluation.suites import in_data_dir, open_sides
from embedmerge.evaluation.tasks import open_tasks

if TYPE_CHECKING:
    from pathlib import Path


def test_a_folder_with_and_without_a_split(collection: Path) -> None:
    plain, dev = open_tasks([str(collection), f"{collection}:dev"], "target")
    assert (plain.name, plain.split, dev.split, dev.side) == ("animals", "test", "dev", "target")


def test_an_mteb_task_by_name() -> None:
    (task,) = open_tasks(["NFCorpus"], "general")
    assert (task.name, task.split) == ("NFCorpus", "test")
    assert task.content.startswith("mteb/nfcorpus@")


def test_a_benchmark_by_name_is_its_retrieval_tasks() -> None:
    tasks = open_tasks(["NanoBEIR"], "general")
    assert len(tasks) == 13
    assert {task.split for task in tasks} == {"train"}


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("NFCorpu", "did you mean NFCorpus"),
        ("./nowhere", "no such folder"),
        ("no/such:test", "no such folder"),
        ("STS12", "retrieval tasks"),
        ("NFCorpus:validation", "no split 'validation'"),
    ],
)
def test_unknown_tasks_say_what_to_do(name: str, says: str) -> None:
    with pytest.raises(EmbedmergeError, match=says):
        open_tasks([name], "general")


def test_a_task_named_on_both_sides_is_refused(collection: Path) -> None:
    with pytest.raises(EmbedmergeError, match="animals:test: named twice"):
        open_sides({"target": [str(collection)], "general": [f"{collection}:test"]})


def test_the_data_folder_is_asked_before_mteb(collection: Path) -> None:
    assert in_data_dir("animals:dev", collection.parent) == f"{collection}:dev"
    assert in_data_dir("NFCorpus", collection.parent) == "NFCorpus"
