from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import huggingface_hub.constants
import pytest
from loopback_hub import environment

from embedmerge.checkpoint.hub import locate
from embedmerge.checkpoint.layout import open_checkpoint
from embedmerge.errors import EmbedmergeError

OLD, NEW = "1" * 40, "2" * 40
SERVED = "c" * 40


def refused(given, revision=None):
    with pytest.raises(EmbedmergeError) as caught:
        locate(given, revision)
    message = str(caught.value)
    assert message.startswith(given)
    assert len(message.splitlines()) == 1
    return message


def test_a_folder_is_itself(base):
    location = locate(str(base))
    assert (location.given, location.folder, location.revision) == (str(base), base, None)


def test_a_folder_that_looks_like_a_hub_id_is_the_folder(tmp_path, monkeypatch):
    (tmp_path / "org" / "name").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert locate("org/name").folder == Path("org/name")


def test_the_home_folder_is_expanded(tmp_path, monkeypatch):
    (tmp_path / "model").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    assert locate("~/model").folder == tmp_path / "model"


def test_a_folder_has_no_revision(base):
    assert "revision" in refused(str(base), "main")


def test_a_file_is_refused_with_advice(base):
    assert "name the folder" in refused(str(base / "config.json"))


@pytest.mark.parametrize(
    "given",
    [
        "nonsense",
        "/no/such/folder",
        "a/b/c",
        "../model",
        "org/..",
        "org/a--b",
        "org/.x",
        "org/x?",
        "~nobody-here/x",
        "x" * 5000,
        "a\0b",
    ],
)
def test_what_is_neither_folder_nor_hub_id_is_refused_with_advice(given, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "no such folder; check the path, or give a hub id" in refused(given)


@pytest.fixture
def filled_cache(tmp_path, monkeypatch, base, expert):
    """The hub's cache with two commits of one model: an old one, and a new one that main points to."""
    repository = tmp_path / "hub" / "models--org--tiny"
    for commit, folder in ((OLD, base), (NEW, expert)):
        for path in folder.rglob("*"):
            if path.is_file():
                content = path.read_bytes()
                blob = repository / "blobs" / hashlib.sha256(content).hexdigest()
                blob.parent.mkdir(parents=True, exist_ok=True)
                blob.write_bytes(content)
                link = repository / "snapshots" / commit / path.relative_to(folder)
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(blob)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(NEW)
    (repository / "refs" / "v1").write_text(OLD)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return repository


@pytest.mark.parametrize(("revision", "commit"), [(None, NEW), ("main", NEW), ("v1", OLD), (OLD, OLD)])
def test_a_hub_id_is_found_in_the_cache_at_its_revision(filled_cache, revision, commit):
    location = locate("org/tiny", revision)
    assert location.given == "org/tiny"
    assert location.revision == commit
    assert location.folder == filled_cache / "snapshots" / commit


def test_a_revision_may_follow_the_hub_id(filled_cache):
    location = locate("org/tiny@v1")
    assert (location.given, location.revision) == ("org/tiny", OLD)
    assert "no such folder" in refused("org/tiny@v1", "main")


def test_a_cached_model_opens_like_its_folder(filled_cache, expert):
    checkpoint = open_checkpoint(locate("org/tiny"))
    assert checkpoint.name == "tiny"
    assert checkpoint.depth == 2
    content = {path.name: path.read_bytes() for path in checkpoint.module_files()}
    assert content["vocab.txt"] == (expert / "vocab.txt").read_bytes()
    assert checkpoint.weight_files()[0].read_bytes() == (expert / "model.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("given", "revision"),
    [("org/other", None), ("org/tiny", "v9"), ("org/tiny", "3" * 40), ("org/other", "v1")],
)
def test_offline_what_is_not_in_the_cache_is_refused(filled_cache, given, revision):
    message = refused(given, revision)
    assert message.startswith(f"{given}@{revision}:" if revision else f"{given}:")
    assert "not in the hub cache" in message


@pytest.fixture(scope="module")
def hub(loopback_hub, base, expert, tmp_path_factory):
    """A hub on this machine with org/base and org/expert."""
    decorated = Path(shutil.copytree(expert, tmp_path_factory.mktemp("hub") / "expert"))
    (decorated / "onnx").mkdir()
    (decorated / "onnx" / "config.json").write_text("{}")
    (decorated / "pytorch_model.bin").write_bytes(b"never fetched")
    loopback_hub.serve("model", "org/base", base, SERVED, ("main", "v1"))
    loopback_hub.serve("model", "org/expert", decorated, SERVED, ("main", "v1"))
    loopback_hub.ill.add("org/ill")
    loopback_hub.silent.add("org/hasty")
    return loopback_hub


def online(hub, home, script, *arguments):
    """Run a script that sees the loopback hub and no other, and return what it printed."""
    quiet = {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        env=environment(hub.endpoint, home) | quiet,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


MERGE = """
import sys
from pathlib import Path
from embedmerge.api import merge
from embedmerge.sources import SourceSpec
sources = [SourceSpec("base", "org/base", "base"), SourceSpec("expert", "org/expert", "target", "v1")]
print(merge(sources, [0.0, 1.0], Path(sys.argv[1])).sha256["model.safetensors"])
"""

LOCATE = """
import sys
from embedmerge.checkpoint.hub import locate
from embedmerge.errors import EmbedmergeError
for asked in sys.argv[1:]:
    name, _, revision = asked.partition("@")
    try:
        print(locate(name, revision or None).revision)
    except EmbedmergeError as error:
        print(error)
"""


def test_models_are_downloaded_from_a_hub_and_merged(hub, tmp_path, expert):
    hub.asked.clear()
    printed = online(hub, tmp_path / "home", MERGE, tmp_path / "out")
    merged = (tmp_path / "out" / "model.safetensors").read_bytes()
    assert printed.strip() == hashlib.sha256(merged).hexdigest()
    wanted = open_checkpoint(locate(str(expert))).tensors_of(0)
    found = open_checkpoint(locate(str(tmp_path / "out"))).tensors_of(0)
    assert {name: at.info.shape for name, at in found.items()} == {
        name: at.info.shape for name, at in wanted.items()
    }
    assert len(merged) >= sum(tensor.info.nbytes for tensor in wanted.values())
    assert (tmp_path / "out" / "vocab.txt").read_bytes() == (expert / "vocab.txt").read_bytes()
    asked = hub.asked
    assert any(path.endswith("1_Pooling/config.json") for path in asked)
    assert not any("onnx" in path or path.endswith(".bin") for path in asked)


def test_what_the_hub_cannot_give_is_one_readable_line_each(hub, tmp_path):
    asked = ["org/base", "org/unknown", "org/base@v9", "org/ill", "org/hasty"]
    commit, unknown, revision, ill, hasty = online(hub, tmp_path, LOCATE, *asked).splitlines()
    assert commit == SERVED
    assert unknown.startswith("org/unknown: no such folder here and no such model on the hub")
    assert revision.startswith("org/base@v9: no such folder here, and the hub did not give it")
    assert ill.startswith("org/ill: no such folder here")
    assert hasty.startswith("org/hasty: no such folder here")


LIST = """
import sys
from embedmerge.checkpoint.hub import locate
folder = locate(sys.argv[1]).folder
print(*sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()))
"""


@pytest.mark.parametrize("safe", [True, False])
def test_torch_weights_are_fetched_where_there_are_no_others(hub, tmp_path, expert, safe):
    served = tmp_path / "served"
    shutil.copytree(expert, served)
    (served / "2_Dense").mkdir()
    for name in (
        "pytorch_model.bin",
        "2_Dense/pytorch_model.bin",
        "colbert_linear.pt",
        "optimizer.pt",
        "own.py",
    ):
        (served / name).write_bytes(b"content")
    if not safe:
        (served / "model.safetensors").unlink()
    identity = f"org/torch-{safe}"
    hub.serve("model", identity, served, SERVED)
    found = online(hub, tmp_path / "home", LIST, identity).split()
    assert ("pytorch_model.bin" in found) is not safe
    assert {"2_Dense/pytorch_model.bin", "colbert_linear.pt", "own.py"} <= set(found)
    assert "optimizer.pt" not in found
