"""What the hub's cache holds of mteb's tasks: looked at, and loaded in one language of several."""

from __future__ import annotations

import json
from pathlib import Path

import datasets
import huggingface_hub.constants
import mteb
import pytest
import yaml

from embedmerge.errors import EmbedmergeError
from embedmerge.evaluation.offline import fetch_command, is_cached
from embedmerge.evaluation.tasks import open_tasks

MIRACL = mteb.get_task("MIRACLRetrieval").metadata.dataset
TEXTS = {"de": ("Wer richtet?", "Das Gericht."), "fr": ("Qui juge ?", "Le tribunal.")}


@pytest.fixture
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Empty caches of the hub's and of `datasets`."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets")
    return tmp_path


def place(caches: Path) -> Path:
    repository = f"datasets--{MIRACL['path'].replace('/', '--')}"
    return caches / "hub" / repository / "snapshots" / MIRACL["revision"]


def snapshot(caches: Path, languages: dict[str, tuple[str, str]]) -> Path:
    """The data set as `hf download` leaves it, in some of its languages."""
    folder = place(caches)
    configs = []
    for language, (query, document) in languages.items():
        tables = {
            "corpus": [{"_id": "d", "title": "", "text": document}],
            "queries": [{"_id": "q", "text": query}],
            "qrels": [{"query-id": "q", "corpus-id": "d", "score": 1}],
        }
        for name, rows in tables.items():
            file = folder / f"{language}-{name}" / "dev.jsonl"
            file.parent.mkdir(parents=True)
            file.write_text("".join(json.dumps(row) + "\n" for row in rows))
            files = [{"split": "dev", "path": f"{language}-{name}/dev.jsonl"}]
            configs.append({"config_name": f"{language}-{name}", "data_files": files})
    (folder / "README.md").write_text(f"---\n{yaml.safe_dump({'configs': configs})}---\n")
    return folder


def test_one_language_of_several_is_loaded_offline(caches: Path) -> None:
    snapshot(caches, TEXTS)
    (task,) = open_tasks(["MIRACLRetrieval[de]"], "general")
    assert dict(task.texts.queries) == {"q": TEXTS["de"][0]}
    assert dict(task.texts.documents) == {"d": TEXTS["de"][1]}


def test_what_is_in_the_cache_is_known_without_loading_it(caches: Path) -> None:
    (task,) = open_tasks(["MIRACLRetrieval"], "general")
    assert not is_cached(task.mteb_task)
    snapshot(caches, TEXTS)
    assert is_cached(task.mteb_task)
    assert not task.mteb_task.data_loaded


def test_a_readme_alone_is_not_the_data(caches: Path) -> None:
    folder = place(caches)
    folder.mkdir(parents=True)
    (folder / "README.md").write_text("# MIRACL\n")
    (task,) = open_tasks(["MIRACLRetrieval"], "general")
    assert not is_cached(task.mteb_task)


def test_tables_of_datasets_count_at_the_same_revision_alone(caches: Path) -> None:
    (task,) = open_tasks(["MIRACLRetrieval"], "general")
    tables = caches / "datasets" / "mteb___miracl_retrieval" / "de-corpus" / "0.0.0"
    (tables / ("0" * 40)).mkdir(parents=True)
    assert not is_cached(task.mteb_task)
    (tables / MIRACL["revision"]).mkdir()
    assert is_cached(task.mteb_task)


def test_what_is_missing_is_one_line_that_says_how_to_bring_it(caches: Path) -> None:
    (task,) = open_tasks(["MIRACLRetrieval[de]"], "general")
    with pytest.raises(EmbedmergeError) as caught:
        task.mteb_task.load_data()
    said = str(caught.value)
    assert said.startswith(f"MIRACLRetrieval: its data ({MIRACL['path']}@{MIRACL['revision']}) is not in the")
    assert f"`{fetch_command(task.mteb_task)}`" in said
    assert str(caches / "hub" / "datasets--mteb--MIRACLRetrieval") in said
    assert "\n" not in said
