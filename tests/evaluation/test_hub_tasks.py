"""mteb's own tasks by name: from a hub on this machine, then offline from the cache that was filled."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import huggingface_hub.constants
import mteb
import pytest
import yaml
from loopback_hub import LoopbackHub, environment
from typer.testing import CliRunner

from embedmerge.cli import app

NOBODY = "http://127.0.0.1:9"  # the discard port, where connections are refused
NANO = [task.metadata for task in mteb.get_benchmark("NanoBEIR").tasks]
BEIR = mteb.get_task("NFCorpus").metadata
BOTH = ["--task", "NFCorpus", "--task", "NanoBEIR"]
AGAIN = ["NFCorpus", NANO[0].name, NANO[-1].name]  # offline a few stand for all, to save time
END = "\x1e"

# Several commands in one process, with a note of every host that any part of them asks for.
COMMANDS = f"""
import json, os, sys, time

def note(event, given):
    if event == "socket.getaddrinfo":
        host = given[0]
    elif event == "socket.connect" and isinstance(given[1], tuple):
        host = given[1][0]
    else:
        return
    with open(os.environ["NOTED"], "a") as file:
        print(host, file=file)

sys.addaudithook(note)
if "NO_WAITING" in os.environ:  # the hub's client tries for 23 s
    time.sleep = lambda seconds: None
from embedmerge.cli import main
for arguments in json.loads(sys.argv[1]):
    sys.argv = ["embedmerge", *arguments]
    try:
        main()
    except SystemExit as ended:
        print({END!r}, ended.code or 0, {END!r}, sep="")
        print({END!r}, file=sys.stderr)
"""


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    output: str
    errors: str

    def scores(self) -> dict[str, Any]:
        """Task -> what the file of its scores holds, but for name and split of the task."""
        assert self.code == 0, self.errors
        rows = json.loads(self.output)["models"][0]["tasks"]
        files = {row["task"]: json.loads(Path(row["per_query"]).read_text()) for row in rows}
        return {
            name: {key: value for key, value in file.items() if key not in ("task", "split")}
            for name, file in files.items()
        }

    def files(self) -> dict[str, str]:
        """Task -> name of the file of its scores, in which a digest of the task's content is."""
        rows = json.loads(self.output)["models"][0]["tasks"]
        return {row["task"]: Path(row["per_query"]).name for row in rows}


def evaluate(
    arguments: list[list[str]], variables: dict[str, str], folder: Path
) -> tuple[list[Ended], set[str]]:
    """Run `embedmerge evaluate` with each of the argument lists; how they ended, and the hosts asked."""
    noted = folder / "hosts"
    commands = [["evaluate", *map(str, each), "-o", str(folder / "scores"), "--json"] for each in arguments]
    done = subprocess.run(
        [sys.executable, "-c", COMMANDS, json.dumps(commands)],
        env=variables | {"NOTED": str(noted)},
        capture_output=True,
        text=True,
        timeout=200,
        check=True,
    )
    told, errors = done.stdout.split(END), done.stderr.split(END)
    ended = [
        Ended(int(told[2 * row + 1]), told[2 * row], errors[row].strip()) for row in range(len(commands))
    ]
    return ended, set(noted.read_text().split()) if noted.exists() else set()


def is_one_line_on(metadata: Any, errors: str) -> bool:
    """Whether it is one line that names the task, the data set and the revision, and how to fetch them."""
    content = "{path}@{revision}".format(**metadata.dataset)
    start = f"error: {metadata.name}: its data ({content}) is not in the Hugging Face cache"
    fetch = "`hf download {path} --repo-type dataset --revision {revision}`".format(**metadata.dataset)
    return errors.startswith(start) and fetch in errors and len(errors.splitlines()) == 1


def write_beir_shape(folder: Path, collection: Path) -> Path:
    """The files of `mteb/nfcorpus` at its pinned commit: JSON lines, the qrels as the default config."""
    (folder / "qrels").mkdir(parents=True)
    counts: dict[str, dict[str, int]] = {"default": {}}
    for split in ("dev", "test"):
        text = "".join(json.dumps(row) + "\n" for row in qrels(collection, split))
        (folder / "qrels" / f"{split}.jsonl").write_text(text)
        counts["default"][split] = len(qrels(collection, split))
    for name in ("corpus", "queries"):
        text = (collection / f"{name}.jsonl").read_text()
        (folder / f"{name}.jsonl").write_text(text)
        counts[name] = {name: text.count("\n")}
    files = {
        "default": [{"split": split, "path": f"qrels/{split}.jsonl"} for split in ("dev", "test")],
        "corpus": [{"split": "corpus", "path": "corpus.jsonl"}],
        "queries": [{"split": "queries", "path": "queries.jsonl"}],
    }
    return write_card(folder, files, counts, grade="float64")


def write_nano_shape(folder: Path, collection: Path) -> Path:
    """The files of `mteb/Nano*Retrieval` at their pinned commits: parquet, no default config."""
    rows = {
        "corpus": json_lines(collection / "corpus.jsonl"),
        "queries": json_lines(collection / "queries.jsonl"),
        "qrels": qrels(collection, "test"),
    }
    for name, content in rows.items():
        (folder / name).mkdir(parents=True)
        datasets.Dataset.from_list(content).to_parquet(folder / name / "train-00000-of-00001.parquet")
    files = {name: [{"split": "train", "path": f"{name}/train-*"}] for name in rows}
    return write_card(folder, files, {name: {"train": len(rows[name])} for name in rows}, grade="int64")


def write_card(folder: Path, files: dict[str, Any], counts: dict[str, dict[str, int]], grade: str) -> Path:
    """README.md with the two blocks that `datasets` reads."""
    columns = {"corpus": {"_id": "string", "title": "string", "text": "string"}}
    columns["queries"] = {"_id": "string", "text": "string"}
    judged = {"query-id": "string", "corpus-id": "string", "score": grade}
    infos = [
        {
            "config_name": name,
            "features": [{"name": key, "dtype": kind} for key, kind in columns.get(name, judged).items()],
            "splits": [{"name": key, "num_bytes": 1, "num_examples": n} for key, n in counts[name].items()],
        }
        for name in files
    ]
    configs = [{"config_name": name, "data_files": data} for name, data in files.items()]
    card = yaml.safe_dump({"language": ["en"], "dataset_info": infos, "configs": configs}, sort_keys=False)
    (folder / "README.md").write_text(f"---\n{card}---\n\nA data set.\n")
    (folder / ".gitattributes").write_text("*.parquet filter=lfs diff=lfs merge=lfs -text\n")
    return folder


def json_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def qrels(collection: Path, split: str) -> list[dict[str, Any]]:
    lines = (collection / "qrels" / f"{split}.tsv").read_text().splitlines()[1:]
    fields = [line.split("\t") for line in lines]
    return [
        {"query-id": query, "corpus-id": document, "score": int(grade)} for query, document, grade in fields
    ]


@pytest.fixture(scope="module")
def hub(
    loopback_hub: LoopbackHub,
    collection: Path,
    general_collection: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> LoopbackHub:
    """A hub with mteb/nfcorpus and the thirteen of NanoBEIR, at the revisions mteb asks for."""
    root = tmp_path_factory.mktemp("repositories")
    beir = write_beir_shape(root / "beir", collection)
    nano = write_nano_shape(root / "nano", general_collection)
    loopback_hub.serve("dataset", BEIR.dataset["path"], beir, BEIR.dataset["revision"])
    for metadata in NANO:
        loopback_hub.serve("dataset", metadata.dataset["path"], nano, metadata.dataset["revision"])
    return loopback_hub


@dataclass(frozen=True)
class Online:
    """Two runs of one command against the hub, which lacks the last data set in the first."""

    home: Path
    refused: Ended
    ended: Ended
    hosts: set[str]


@pytest.fixture(scope="module")
def online(hub: LoopbackHub, base: Path, tmp_path_factory: pytest.TempPathFactory) -> Online:
    """Everything evaluated online, into caches that were empty."""
    folder = tmp_path_factory.mktemp("online")
    hub.late.add(NANO[-1].dataset["path"])
    variables = environment(hub.endpoint, folder / "home")
    (refused, ended), hosts = evaluate([[str(base), *BOTH]] * 2, variables, folder)
    return Online(folder / "home", refused, ended, hosts)


@dataclass(frozen=True)
class Apart:
    """A run offline with the caches of the one online, and one against a hub that is down."""

    offline: Ended
    offline_hosts: set[str]
    down: list[Ended]
    down_hosts: set[str]


@pytest.fixture(scope="module")
def apart(online: Online, base: Path, tmp_path_factory: pytest.TempPathFactory) -> Apart:
    """Both at once, since most of their time is imports."""
    folder, other = tmp_path_factory.mktemp("offline"), tmp_path_factory.mktemp("down")
    variables = environment(NOBODY, online.home, offline=True) | {"EMBEDMERGE_CACHE": str(folder / "cache")}
    again = [word for name in AGAIN for word in ("--task", name)]
    asked = [[str(base), "--task", "NFCorpus"], [str(base), "--task", "NanoBEIR"]]
    alone = environment(NOBODY, other / "home") | {"NO_WAITING": "1"}
    with ThreadPoolExecutor() as pool:
        offline = pool.submit(evaluate, [[str(base), *again]], variables, folder)
        down = pool.submit(evaluate, asked, alone, other)
    return Apart(offline.result()[0][0], offline.result()[1], *down.result())


@pytest.fixture(scope="module")
def wanted(
    base: Path, collection: Path, general_collection: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """Scores of the same content as BEIR folders."""
    local = ["--task", str(collection), "--task", str(general_collection)]
    return here(base, local, tmp_path_factory.mktemp("local")).scores()


def here(model: Path, arguments: list[str], folder: Path) -> Ended:
    """The command in this process, which is offline, with an empty cache of embeddings and scores."""
    result = CliRunner().invoke(app, ["evaluate", str(model), *arguments, "-o", str(folder), "--json"])
    return Ended(result.exit_code, result.stdout, result.stderr.strip())


@pytest.fixture
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Empty caches of the hub's and of `datasets` for this process, which is offline."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "home" / "hub"))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "home" / "datasets")
    return tmp_path / "home"


def test_online_scores_are_those_of_the_same_content_in_a_folder(
    online: Online, wanted: dict[str, Any]
) -> None:
    scores = online.ended.scores()
    assert list(scores) == ["NFCorpus", *(metadata.name for metadata in NANO)]
    assert scores["NFCorpus"] == wanted["animals"]
    assert 0 < scores["NFCorpus"]["ndcg_at_10"] < 100
    assert wanted["general"] != wanted["animals"]
    assert all(scores[metadata.name] == wanted["general"] for metadata in NANO)


def test_online_nobody_but_the_hub_is_asked(online: Online, hub: LoopbackHub) -> None:
    assert online.hosts == {"127.0.0.1"}
    asked = {place.removeprefix("api/").removeprefix("datasets/") for place in hub.asked}
    served = tuple(identity for _, identity in hub.repositories)
    assert {place for place in asked if not place.startswith(served)} <= {"agent-harnesses"}


def test_a_data_set_that_the_hub_has_not_is_one_line_and_the_rest_is_kept(online: Online) -> None:
    assert online.refused.code == 2
    assert is_one_line_on(NANO[-1], online.refused.errors)
    assert "doesn't exist on the Hub" in online.refused.errors


def test_offline_with_what_a_run_online_left(online: Online, apart: Apart) -> None:
    scores, files = online.ended.scores(), online.ended.files()
    assert apart.offline.scores() == {name: scores[name] for name in AGAIN}
    assert apart.offline.files() == {name: files[name] for name in AGAIN}
    assert apart.offline.errors == ""
    assert apart.offline_hosts == set()


FETCH = """
import sys
from huggingface_hub import snapshot_download
for asked in sys.argv[1:]:
    path, revision = asked.split("@")
    snapshot_download(path, repo_type="dataset", revision=revision)
"""


def test_offline_with_what_hf_download_brings(
    hub: LoopbackHub, base: Path, caches: Path, wanted: dict[str, Any], tmp_path: Path
) -> None:
    fetched = ["{path}@{revision}".format(**metadata.dataset) for metadata in (BEIR, NANO[0])]
    subprocess.run(
        [sys.executable, "-c", FETCH, *fetched],
        env=environment(hub.endpoint, caches),
        check=True,
        capture_output=True,
        timeout=100,
    )
    ended = here(base, ["--task", "NFCorpus", "--task", NANO[0].name], tmp_path / "scores")
    assert ended.scores() == {"NFCorpus": wanted["animals"], NANO[0].name: wanted["general"]}


def test_offline_with_the_tables_of_datasets_alone(
    online: Online, base: Path, caches: Path, wanted: dict[str, Any], tmp_path: Path
) -> None:
    shutil.copytree(online.home / "datasets" / "mteb___nfcorpus", caches / "datasets" / "mteb___nfcorpus")
    ended = here(base, ["--task", "NFCorpus"], tmp_path / "scores")
    assert ended.scores() == {"NFCorpus": wanted["animals"]}


def test_offline_tables_of_another_revision_are_not_taken_for_the_one_asked(
    online: Online, base: Path, caches: Path, tmp_path: Path
) -> None:
    for config in (online.home / "datasets" / "mteb___nfcorpus").iterdir():
        tables = config / "0.0.0" / BEIR.dataset["revision"]
        place = caches / "datasets" / "mteb___nfcorpus" / config.name / "0.0.0"
        shutil.copytree(tables, place / ("0" * 40))
    ended = here(base, ["--task", "NFCorpus"], tmp_path / "scores")
    assert ended.code == 2
    assert is_one_line_on(BEIR, ended.errors)
    assert "other revisions" in ended.errors


@pytest.mark.parametrize(("asked", "metadata"), [("NFCorpus", BEIR), ("NanoBEIR", NANO[0])])
def test_offline_without_the_data_is_one_line(
    asked: str, metadata: Any, base: Path, caches: Path, tmp_path: Path
) -> None:
    ended = here(base, ["--task", asked], tmp_path / "scores")
    assert ended.code == 2
    assert is_one_line_on(metadata, ended.errors)


def test_half_a_snapshot_is_one_line(online: Online, base: Path, caches: Path, tmp_path: Path) -> None:
    for metadata in (BEIR, NANO[0]):
        repository = "datasets--" + metadata.dataset["path"].replace("/", "--")
        shutil.copytree(online.home / "hub" / repository, caches / "hub" / repository, symlinks=True)
        for file in (caches / "hub" / repository).rglob("*corpus*/*.parquet"):
            file.unlink()
        for file in (caches / "hub" / repository).rglob("corpus.jsonl"):
            file.unlink()
        ended = here(base, ["--task", metadata.name], tmp_path / "scores")
        assert ended.code == 2
        assert is_one_line_on(metadata, ended.errors)


def test_a_hub_that_is_down_is_one_line(apart: Apart) -> None:
    assert [ended.code for ended in apart.down] == [2, 2]
    assert is_one_line_on(BEIR, apart.down[0].errors)
    assert is_one_line_on(NANO[0], apart.down[1].errors)
    assert apart.down_hosts == {"127.0.0.1"}
