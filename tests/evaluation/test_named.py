from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from embedmerge.errors import EmbedmergeError
from embedmerge.evaluation.named import NamedTask, named


@pytest.mark.parametrize(
    ("name", "task", "split", "languages"),
    [
        ("NFCorpus", "NFCorpus", None, ()),
        ("NFCorpus:test", "NFCorpus", "test", ()),
        ("MTEB(eng, v2)", "MTEB(eng, v2)", None, ()),
        ("MTEB(Multilingual, v2)[deu, fra]", "MTEB(Multilingual, v2)", None, ("deu", "fra")),
        ("MIRACLRetrieval[de]:dev", "MIRACLRetrieval", "dev", ("de",)),
        ("a/folder:dev", "a/folder", "dev", ()),
        ("*", "*", None, ()),
    ],
)
def test_languages_and_split_are_taken_out_of_the_name(
    name: str, task: str, split: str | None, languages: tuple[str, ...]
) -> None:
    found = named(name)
    assert (found.task, found.split, found.languages) == (task, split, languages)
    assert named(found) == found


def test_a_path_that_is_there_is_a_path_whatever_is_in_its_name(tmp_path: Path) -> None:
    folder = tmp_path / "odd[name]:x"
    folder.mkdir()
    assert named(str(folder)) == NamedTask(task=str(folder))
    assert named(f"{folder}:dev") == NamedTask(task=str(folder), split="dev")


def test_what_is_said_beside_the_name_counts(tmp_path: Path) -> None:
    assert named(NamedTask(task="NFCorpus", split="dev")).split == "dev"
    assert named(NamedTask(task="NFCorpus:dev", split="dev")).split == "dev"
    with pytest.raises(EmbedmergeError, match="says 'test' by its name and 'dev' beside it"):
        named(NamedTask(task="NFCorpus:test", split="dev"))


def test_other_keys_are_refused() -> None:
    with pytest.raises(ValidationError):
        NamedTask.model_validate({"task": "NFCorpus", "prompt": "find"})
    with pytest.raises(ValidationError):
        NamedTask.model_validate({"task": "NFCorpus", "prompts": {"passage": "find"}})
