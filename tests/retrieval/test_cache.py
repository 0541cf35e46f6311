from __future__ import annotations

import logging
import os
import resource
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from embedmerge.checkpoint.hub import locate
from embedmerge.checkpoint.layout import open_checkpoint
from embedmerge.errors import EmbedmergeError
from embedmerge.retrieval.cache import EmbeddingCache, text_keys
from embedmerge.retrieval.encoder import Encoder
from embedmerge.retrieval.settings import EncoderModel
from embedmerge.sources import encoder_model

TEXTS = [f"code function loop {number}" for number in range(40)]
ONE, OTHER = (EncoderModel(name, Path(name), digest * 64) for name, digest in (("one", "a"), ("other", "b")))
WRITER = """
import sys
import numpy as np
from pathlib import Path
from embedmerge.retrieval.cache import EmbeddingCache, text_keys
from embedmerge.retrieval.settings import EncoderModel

cache, model = EmbeddingCache(Path(sys.argv[1])), EncoderModel("one", Path("one"), "a" * 64)
print("ready", flush=True)
for start in range(int(sys.argv[2]), int(sys.argv[3]), 5):
    numbers = range(start, start + 10)
    keys = text_keys({}, [str(number) for number in numbers])
    cache.store(model, {key: np.full(300, number, np.float32) for key, number in zip(keys, numbers)})
"""


def some(texts: int, start: int = 0) -> dict[bytes, np.ndarray]:
    numbers = range(start, start + texts)
    keys = text_keys({}, [str(number) for number in numbers])
    return {key: np.full(300, number, np.float32) for key, number in zip(keys, numbers, strict=True)}


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def overwrite(path: Path) -> None:
    path.write_bytes(b"not a data base" * 1000)


def flip(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE vectors SET vector = zeroblob(length(vector)) WHERE rowid = 3")
    connection.close()


@pytest.mark.parametrize("damage", [cut, overwrite, flip])
def test_a_damaged_file_is_computed_again_and_that_is_said(
    base: Path, tmp_path: Path, caplog, damage
) -> None:
    model = encoder_model(open_checkpoint(locate(str(base))))
    cache = EmbeddingCache(tmp_path / "cache")
    wanted = Encoder(model, cache=cache).embed(TEXTS)
    (file,) = cache.folder.iterdir()
    damage(file)
    again = Encoder(model, cache=cache)
    np.testing.assert_allclose(again.embed(TEXTS), wanted, atol=1e-6)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "damaged" in caplog.text
    assert "computed again" in caplog.text
    assert again.counts.encoded == (1 if damage is flip else len(TEXTS))
    third = Encoder(model, cache=cache)
    third.embed(TEXTS)
    assert third.counts.encoded == 0
    assert len(caplog.records) == 1


def test_a_full_disk_is_said_once_and_costs_nothing_else(base: Path, tmp_path: Path, caplog) -> None:
    model = encoder_model(open_checkpoint(locate(str(base))))
    wanted = Encoder(model).embed(TEXTS)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    cache = EmbeddingCache(tmp_path / "cache")
    encoder = Encoder(model, cache=cache)
    encoder.module_stack()
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        assert np.array_equal(encoder.embed(TEXTS), wanted)
        assert np.array_equal(encoder.embed(TEXTS), wanted)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert len(caplog.records) == 1
    assert "goes on without the embedding cache" in caplog.text
    assert EmbeddingCache(cache.folder).load(model, text_keys({}, TEXTS)) == {}


def test_a_folder_that_cannot_be_written_is_said_once(tmp_path: Path, caplog) -> None:
    (tmp_path / "file").write_text("in the way")
    cache = EmbeddingCache(tmp_path / "file" / "cache")
    for _ in range(2):
        cache.store(ONE, some(2))
        assert cache.load(ONE, list(some(2))) == {}
    assert len(caplog.records) == 1


def test_two_processes_write_at_a_time(tmp_path: Path) -> None:
    cache = EmbeddingCache(tmp_path / "cache")
    bounds = [("0", "100"), ("50", "150")]
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(cache.folder), *bound]) for bound in bounds
    ]
    assert [writer.wait() for writer in writers] == [0, 0]
    wanted = some(150)
    found = cache.load(ONE, list(wanted))
    assert found.keys() == wanted.keys()
    assert all(np.array_equal(found[key], vector) for key, vector in wanted.items())


def test_a_killed_process_leaves_whole_writes(tmp_path: Path, caplog) -> None:
    cache = EmbeddingCache(tmp_path / "cache")
    command = [sys.executable, "-c", WRITER, str(cache.folder), "0", "1000000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout
        writer.stdout.readline()
        while not cache.folder.is_dir() or not any(cache.folder.glob("*.sqlite")):
            time.sleep(0.01)
        time.sleep(0.3)
        writer.send_signal(signal.SIGKILL)
    written = len(cache.load(ONE, list(some(20_000))))
    assert written % 5 == 0
    cache.store(ONE, some(20))
    assert len(cache.load(ONE, list(some(20)))) == 20
    assert not caplog.records


def test_entries_and_pruning(tmp_path: Path) -> None:
    cache = EmbeddingCache(tmp_path / "cache")
    assert (cache.entries(), cache.size()) == ([], 0)
    cache.store(ONE, some(3))
    cache.store(OTHER, some(200))
    os.utime(cache.folder / f"{ONE.sha256}.sqlite", (1, 1))
    entries = cache.entries()
    assert [(entry.name, entry.model, entry.texts) for entry in entries] == [
        ("other", OTHER.sha256, 200),
        ("one", ONE.sha256, 3),
    ]
    assert cache.size() == sum(entry.bytes for entry in entries)
    assert cache.prune(max_bytes=cache.size()) == []
    assert [entry.name for entry in cache.prune(older_than=3600)] == ["one"]
    assert cache.load(ONE, list(some(3))) == {}
    cache.store(ONE, some(3))
    assert [entry.name for entry in cache.prune(model="bbbb")] == ["other"]
    cache.store(OTHER, some(3))
    assert [entry.name for entry in cache.prune(max_bytes=0)] == ["other", "one"]
    assert not list(cache.folder.iterdir())
    with pytest.raises(EmbedmergeError, match="no such model"):
        cache.prune(model="third")
    with pytest.raises(EmbedmergeError, match="say a size"):
        cache.prune()


def test_what_is_read_is_not_the_longest_unused(tmp_path: Path) -> None:
    cache = EmbeddingCache(tmp_path / "cache")
    for model in (ONE, OTHER):
        cache.store(model, some(3))
        os.utime(cache.folder / f"{model.sha256}.sqlite", (1, 1))
    cache.load(ONE, list(some(3)))
    assert [entry.name for entry in cache.entries()] == ["one", "other"]


def test_a_damaged_file_is_listed_and_pruned(tmp_path: Path) -> None:
    cache = EmbeddingCache(tmp_path / "cache")
    cache.store(ONE, some(3))
    overwrite(cache.folder / f"{ONE.sha256}.sqlite")
    assert [entry.texts for entry in cache.entries()] == [None]
    assert len(cache.prune(model="aaaa")) == 1
