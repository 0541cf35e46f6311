from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from embedmerge.cli import cache as cache_command
from embedmerge.errors import EmbedmergeError
from embedmerge.retrieval.cache import EmbeddingCache, text_keys
from embedmerge.retrieval.settings import EncoderModel

app = typer.Typer()
app.command()(cache_command.command)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EmbeddingCache:
    monkeypatch.setenv("EMBEDMERGE_CACHE", str(tmp_path / "cache"))
    cache = EmbeddingCache.of_user()
    for name, digest in (("small", "a"), ("large", "b")):
        keys = text_keys({}, [str(number) for number in range(1000 if name == "large" else 2)])
        model = EncoderModel(name, Path(name), digest * 64)
        cache.store(model, dict.fromkeys(keys, np.ones(96, np.float32)))
    return cache


def run(*words: str) -> str:
    result = CliRunner().invoke(app, list(words))
    if result.exception:
        raise result.exception
    return result.stdout


def test_list(cache: EmbeddingCache) -> None:
    shown = run()
    assert "large" in shown
    assert "1,000" in shown
    assert "kept: 2 models" in shown
    listed = json.loads(run("list", "--json"))
    assert listed["bytes"] == cache.size()
    assert {entry["name"]: entry["texts"] for entry in listed["kept"]} == {"small": 2, "large": 1000}


def test_prune(cache: EmbeddingCache) -> None:
    assert json.loads(run("prune", "--older-than", "1", "--json"))["removed"] == []
    assert "removed: 1 model" in run("prune", "--model", "small")
    assert [
        entry["name"] for entry in json.loads(run("prune", "--max-size", "1kB", "--json"))["removed"]
    ] == ["large"]
    assert "kept: 0 models" in run()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["clear"], "must be list or prune"),
        (["prune"], "say --max-size"),
        (["prune", "--max-size", "much"], "must be a size"),
        (["prune", "--model", "third"], "no such model"),
        (["list", "--model", "small"], "belong to"),
    ],
)
def test_bad_input_is_one_line(cache: EmbeddingCache, words: list[str], message: str) -> None:
    with pytest.raises(EmbedmergeError, match=message):
        run(*words)
