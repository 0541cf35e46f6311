from __future__ import annotations

import json
import shutil
from pathlib import Path

import datasets
import huggingface_hub.constants
import mteb
import pytest
from typer.testing import CliRunner

from embedmerge.cli import app

NFCORPUS, SCIFACT = (mteb.get_task(name).metadata.dataset for name in ("NFCorpus", "SciFact"))


def called(*arguments: object, columns: int = 100):
    result = CliRunner().invoke(app, ["tasks", *map(str, arguments)], env={"COLUMNS": str(columns)})
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Empty caches of the hub's and of `datasets`."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets")
    return tmp_path


@pytest.fixture
def data(collection: Path, tmp_path: Path) -> Path:
    """One good collection, one whose qrels name an unknown document, one that is damaged."""
    for name in ("animals", "birds", "broken"):
        shutil.copytree(collection, tmp_path / "data" / name)
    with (tmp_path / "data" / "birds" / "qrels" / "dev.tsv").open("a") as qrels:
        qrels.write("q1\tnowhere\t1\n")
    (tmp_path / "data" / "broken" / "corpus.jsonl").write_text("not json\n")
    (tmp_path / "data" / "README.md").write_text("# Data\n")
    return tmp_path / "data"


def put_into_the_cache(caches: Path) -> None:
    repository = caches / "hub" / f"datasets--{NFCORPUS['path'].replace('/', '--')}"
    snapshot = repository / "snapshots" / NFCORPUS["revision"]
    snapshot.mkdir(parents=True)
    (snapshot / "corpus.jsonl").write_text("{}\n")


@pytest.mark.parametrize("columns", [80, 100])
def test_what_is_here_fits_the_terminal(caches: Path, data: Path, columns: int) -> None:
    code, out, _ = called("--data-dir", data, columns=columns)
    assert code == 0
    faults = [line for line in out.splitlines() if line.startswith("cannot be read: ")]
    assert len(faults) == 1
    assert f"{data}/broken/corpus.jsonl:1: not a JSON object" in faults[0]
    assert max(len(line) for line in out.splitlines() if line not in faults) <= columns
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert "animals BEIR 60 test 20 20" in lines
    assert "dev 20 20" in lines
    assert any(line.startswith("local 0 3 2 of 3 Every collection below") for line in lines)
    assert any(line.startswith("nano 4 9 0 of 13 NanoBEIR") for line in lines)
    assert "NFCorpus test beir-small target no" in lines
    assert "birds:dev: 1 qrels name documents that the corpus has not; left out" in lines


def test_without_a_data_folder_it_says_how_to_name_one(caches: Path) -> None:
    code, out, _ = called()
    assert code == 0
    assert "no local collections: name a folder of them with --data-dir or EMBEDMERGE_DATA" in out


def test_one_suite_says_how_to_fetch_what_is_missing(caches: Path, data: Path) -> None:
    put_into_the_cache(caches)
    code, out, _ = called("--suite", "beir-small", "--data-dir", data)
    assert code == 0
    assert "animals" not in out
    assert "1 of 5" in out
    assert f"\n  hf download {SCIFACT['path']} --repo-type dataset --revision {SCIFACT['revision']}\n" in out
    assert "hf download mteb/nfcorpus" not in out


def test_a_suite_file_with_a_folder(caches: Path, data: Path) -> None:
    (data / "mine.yaml").write_text("description: Mine\ntarget: [animals:dev]\ngeneral: [NFCorpus]\n")
    code, out, _ = called("--suite", data / "mine.yaml")
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert code == 0
    assert any(line == "mine 1 1 1 of 2 Mine" for line in lines)
    assert "animals BEIR 60 test 20 20" in lines


def test_json_says_everything_a_program_needs(caches: Path, data: Path) -> None:
    put_into_the_cache(caches)
    code, out, _ = called("--data-dir", data, "--json")
    found = json.loads(out)
    assert code == 0
    assert list(found["suites"]) == ["beir-small", "local", "mteb-en-retrieval", "nano"]
    collections = {row["name"]: row for row in found["collections"]}
    assert list(collections) == ["animals", "birds", "broken"]
    animals = collections["animals"]
    assert (animals["layout"], animals["suites"], animals["fault"]) == ("BEIR", {"local": "general"}, None)
    assert [split["split"] for split in animals["splits"]] == ["test", "dev"]
    assert animals["splits"][0] == {
        "split": "test", "documents": 60, "queries": 20, "judged": 20, "candidates": False, "notes": [],
    }  # fmt: skip
    assert "not a JSON object" in collections["broken"]["fault"]
    cached = [(row["name"], row["revision"]) for row in found["mteb"] if row["cached"]]
    assert cached == [("NFCorpus", NFCORPUS["revision"])]
    assert all(row["fetch"].endswith(row["revision"]) for row in found["mteb"])


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--suite", "nanno"], "nanno: no such file; a suite is a YAML file, or one of beir-small, local"),
        (
            ["--data-dir", "/no/where"],
            "/no/where: no such folder; --data-dir names one that holds collections",
        ),
    ],
)
def test_bad_input_is_one_line(caches: Path, arguments: list[str], says: str) -> None:
    code, out, err = called(*arguments)
    assert (code, out) == (2, "")
    assert says in err
    assert len(err.strip().splitlines()) == 1
