from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import constants
from loopback_hub import environment
from typer.testing import CliRunner

from embedmerge import EmbedmergeError, SourceSpec, merge
from embedmerge.api import push
from embedmerge.checkpoint.lineage import file_sha256
from embedmerge.cli import app
from embedmerge.manifest import read_manifest

CARD = """\
---
library_name: sentence-transformers
pipeline_tag: sentence-similarity
license: mit
base_model: [ada/base]
---
# A model
"""


def written(folder, card=CARD):
    """A model folder whose card is recorded too."""
    (folder / "README.md").write_text(card)
    manifest = read_manifest(folder)
    files = {place: digest for place, digest in manifest.files.items() if place != "README.md"}
    type(manifest)(**{**vars(manifest), "files": files}).covering(folder).write(folder)
    return folder


@pytest.fixture(scope="module")
def merged(tmp_path_factory, base, expert):
    folder = tmp_path_factory.mktemp("push") / "model"
    sources = [SourceSpec("base", str(base), "base"), SourceSpec("expert", str(expert), "target")]
    return written(merge(sources, [0.5, 0.5], folder).folder)


@pytest.fixture
def model(merged, tmp_path):
    return Path(shutil.copytree(merged, tmp_path / "model"))


@pytest.fixture
def hub(loopback_hub, tmp_path, monkeypatch):
    """A hub that takes models of ada's, as this process sees it."""
    loopback_hub.tokens, loopback_hub.shelf = {"hf_ada": "ada"}, tmp_path / "shelf"
    for record in (loopback_hub.repositories, loopback_hub.private, loopback_hub.spoilt):
        record.clear()
    loopback_hub.messages.clear()
    loopback_hub.asked.clear()
    monkeypatch.setattr(constants, "ENDPOINT", loopback_hub.endpoint)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setenv("HF_TOKEN", "hf_ada")
    return loopback_hub


def content(folder):
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != ".gitattributes")
    return {path.relative_to(folder).as_posix(): file_sha256(path) for path in files}


def test_nothing_is_sent_without_the_flag(hub, merged):
    plan = push(merged, "ada/legal")
    assert hub.asked == []
    assert plan.url is None and plan.facts["uploaded"] is False
    assert set(plan.files) == set(content(merged))
    assert plan.files["model.safetensors"] == (merged / "model.safetensors").stat().st_size
    assert plan.notes == ()


def test_every_file_arrives(hub, merged):
    sent = push(merged, "ada/legal", yes=True, message="First")
    assert content(hub.repositories["model", "ada/legal"].folder) == content(merged)
    assert hub.private["ada/legal"] is True
    assert hub.messages == [("main", "First")]
    assert sent.url.startswith(f"{hub.endpoint}/ada/legal/commit/")
    assert "api/validate-yaml" in hub.asked


def test_from_the_command_line(hub, merged, tmp_path):
    variables = environment(hub.endpoint, tmp_path / "home")
    variables |= {"HF_TOKEN": "hf_ada", "HF_HUB_DISABLE_XET": "1"}
    command = [sys.executable, "-m", "embedmerge", "push", str(merged), "ada/shell", "--yes", "--json"]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["uploaded"] is True
    assert content(hub.repositories["model", "ada/shell"].folder) == content(merged)


def test_what_would_be_sent_is_said(hub, merged):
    result = CliRunner().invoke(app, ["push", str(merged), "ada/legal"])
    assert result.exit_code == 0
    text = " ".join(result.stdout.split())
    assert "model.safetensors" in text and "made private" in text
    assert "Nothing was uploaded; --yes uploads." in text
    assert hub.asked == []


def test_a_branch_is_made(hub, merged):
    push(merged, "ada/legal", yes=True, revision="v2")
    assert [branch for branch, _ in hub.messages] == ["v2"]
    assert "api/models/ada/legal/branch/v2" in hub.asked


def test_a_pull_request_is_opened(hub, merged):
    push(merged, "ada/legal", yes=True)
    sent = push(merged, "ada/legal", yes=True, create_pr=True)
    assert sent.url == f"{hub.endpoint}/ada/legal/discussions/1"


def test_public_only_when_asked(hub, merged):
    push(merged, "ada/legal", yes=True, private=False)
    assert hub.private["ada/legal"] is False
    with pytest.raises(EmbedmergeError, match="is there and is public; give --public"):
        push(merged, "ada/legal", yes=True)


def test_files_of_another_model_stop_it_or_go(hub, merged):
    push(merged, "ada/legal", yes=True)
    folder = hub.repositories["model", "ada/legal"].folder
    (folder / "model-00001-of-00002.safetensors").write_bytes(b"old")
    with pytest.raises(EmbedmergeError, match=r"holds model-00001-of-00002\.safetensors, which this model"):
        push(merged, "ada/legal", yes=True)
    push(merged, "ada/legal", yes=True, replace=True)
    assert content(folder) == content(merged)
    assert (folder / ".gitattributes").is_file()


def test_other_bytes_on_arrival_are_seen(hub, merged):
    size = (merged / "model.safetensors").stat().st_size
    hub.spoilt["model.safetensors"] = bytes(size)
    with pytest.raises(EmbedmergeError, match=r"ada/legal: model\.safetensors arrived with other bytes"):
        push(merged, "ada/legal", yes=True)


@pytest.mark.parametrize(
    ("token", "repo_id", "message"),
    [
        ("", "ada/legal", "no token for the hub; run `hf auth login`"),
        ("hf_other", "ada/legal", "the hub does not know the token"),
        ("hf_ada", "bob/legal", "the token may not write there"),
        ("hf_ada", "ada/le gal", "no name of a repository"),
    ],
)
def test_who_may_not_write_is_told_in_one_line(hub, merged, monkeypatch, token, repo_id, message):
    monkeypatch.setenv("HF_TOKEN", token)
    result = CliRunner().invoke(app, ["push", str(merged), repo_id, "--yes"])
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ") and result.stderr.count("\n") == 1
    assert message in result.stderr
    assert hub.repositories == {}


def test_an_offline_hub_and_none_at_all(hub, merged, monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(EmbedmergeError, match="the hub cannot be reached"):
        push(merged, "ada/legal", yes=True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(EmbedmergeError, match="HF_HUB_OFFLINE is set"):
        push(merged, "ada/legal", yes=True)


def test_an_altered_model_is_not_sent(hub, model):
    weights = bytearray((model / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (model / "model.safetensors").write_bytes(weights)
    with pytest.raises(EmbedmergeError, match=r"model\.safetensors: altered, against embedmerge\.json"):
        push(model, "ada/legal", yes=True)
    assert hub.asked == []


def test_a_file_that_is_not_the_models_is_not_sent(hub, model):
    (model / "notes.txt").write_text("mine")
    with pytest.raises(EmbedmergeError, match=r"notes\.txt: extra"):
        push(model, "ada/legal", yes=True)
    assert hub.asked == []


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("pipeline_tag: text-generation", "pipeline_tag is none of"),
        ("base_model: [../base]", "base_model '../base' is no id on the hub"),
        ("model-index: [{name: x}]", "metadata cannot be read"),
        ("tags: [a, 1]", "a tag is no text"),
        ("license: [", "metadata cannot be read"),
    ],
)
def test_a_card_that_the_hub_would_not_take_is_not_sent(hub, model, line, fault):
    key = line.partition(":")[0]
    kept = "".join(row for row in CARD.splitlines(True) if not row.startswith(f"{key}:"))
    written(model, kept.replace("---\n", f"---\n{line}\n", 1))
    with pytest.raises(EmbedmergeError, match=fault):
        push(model, "ada/legal")


def test_what_only_the_hub_knows_is_its_own_words(hub, model):
    written(model, CARD.replace("license: mit", "license: mine"))
    with pytest.raises(EmbedmergeError, match=r'the hub refuses this card: .*"license" must be one of'):
        push(model, "ada/legal", yes=True)
    assert hub.repositories == {}


def test_what_readers_will_miss_is_noted(hub, model):
    card = CARD.replace("license: mit\n", "").replace("# A model", "# Tuned from /home/ada/base")
    assert any("path" in note for note in push(written(model, card), "ada/legal").notes)
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "architectures": None}))
    manifest = read_manifest(model)
    files = {place: digest for place, digest in manifest.files.items() if place != "config.json"}
    type(manifest)(**{**vars(manifest), "files": files}).covering(model).write(model)
    notes = push(model, "ada/legal").notes
    assert any("names no licence" in note for note in notes)
    assert any(note.startswith("text-embeddings-inference cannot read config.json") for note in notes)
