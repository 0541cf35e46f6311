from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import faiss
import numpy as np
import pytest

from embedmerge.errors import EmbedmergeError
from embedmerge.retrieval.index import IndexSettings, VectorIndex

KINDS = ("exact", "hnsw", "ivf", "sq8", "ivf_sq8", "pq")
MODEL = "ab" * 32


def vectors(rows: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((rows, 16)).astype(np.float32)


def saved(folder: Path, kind: str = "exact", rows: int = 300) -> VectorIndex:
    index = VectorIndex(IndexSettings(kind), MODEL)
    index.add(vectors(rows), [f"d{row}" for row in range(rows)])
    index.save(folder)
    return index


def answers(index: VectorIndex) -> list[tuple]:
    return [(ranking.ids, ranking.scores.tobytes()) for ranking in index.search(vectors(20, 1), 12)]


@pytest.mark.parametrize("kind", KINDS)
def test_a_loaded_index_answers_and_grows_as_the_saved_one(kind: str, tmp_path: Path) -> None:
    index = saved(tmp_path / "index", kind)
    loaded = VectorIndex.load(tmp_path / "index", MODEL)
    assert (loaded.kind, loaded.settings, loaded.recall) == (index.kind, index.settings, index.recall)
    assert answers(loaded) == answers(index)
    for each in (index, loaded):
        each.add(vectors(30, 2), [f"new{row}" for row in range(30)])
    assert answers(loaded) == answers(index)
    assert len(loaded) == 330


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_vectors_make_the_same_bytes(kind: str, tmp_path: Path) -> None:
    for name in ("one", "two"):
        saved(tmp_path / name, kind)
    for file in ("index.faiss", "index.json"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_the_files_are_faiss_own_and_json(tmp_path: Path) -> None:
    saved(tmp_path / "index")
    assert sorted(path.name for path in (tmp_path / "index").iterdir()) == ["index.faiss", "index.json"]
    plain = faiss.read_index(str(tmp_path / "index" / "index.faiss"))
    assert (type(plain).__name__, plain.ntotal, plain.d) == ("IndexFlatIP", 300, 16)
    table = json.loads((tmp_path / "index" / "index.json").read_text())
    assert table["model"] == MODEL
    assert table["ids"][-1] == "d299"


def test_saving_again_replaces_and_leaves_two_files(tmp_path: Path) -> None:
    index = saved(tmp_path / "index")
    for round_ in range(3):
        index.add(vectors(5, 10 + round_), [f"{round_}-{row}" for row in range(5)])
        index.save(tmp_path / "index")
        assert len(list((tmp_path / "index").iterdir())) == 2
        assert answers(VectorIndex.load(tmp_path / "index")) == answers(index)


def test_a_save_that_is_killed_leaves_the_old_index_or_the_new_one(tmp_path: Path) -> None:
    folder = tmp_path / "index"
    saved(folder, rows=20_000)
    program = (
        "import sys, pathlib, numpy as np\n"
        "from embedmerge.retrieval.index import VectorIndex\n"
        "folder = pathlib.Path(sys.argv[1]); index = VectorIndex.load(folder)\n"
        "print('ready', flush=True)\n"
        "for row in range(10**6):\n"
        "    index.add(np.full((1, 16), row + 1.0), [f'new{row}']); index.save(folder)\n"
    )
    counts = [20_000]
    for pause in (0.03, 0.11, 0.23):
        process = subprocess.Popen([sys.executable, "-c", program, str(folder)], stdout=subprocess.PIPE)
        assert process.stdout.readline() == b"ready\n"
        time.sleep(pause)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
        loaded = VectorIndex.load(folder)
        counts.append(len(loaded))
        assert len(loaded.search(vectors(1), 3)[0].ids) == 3
        saved_again = VectorIndex(IndexSettings("exact"), MODEL)
        saved_again.add(vectors(20_000), [f"d{row}" for row in range(20_000)])
        saved_again.save(folder)
    assert min(counts) == 20_000


def test_another_model_is_refused(tmp_path: Path) -> None:
    saved(tmp_path / "index")
    with pytest.raises(
        EmbedmergeError, match=r"built with model abababababababab, not cdcd.*the model it was"
    ):
        VectorIndex.load(tmp_path / "index", "cd" * 32)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-9] ^= 1
    path.write_bytes(data)


def _shorten(path: Path) -> None:
    table = json.loads(path.read_text())
    path.write_text(json.dumps({**table, "ids": table["ids"][:-1]}))


def _forget(path: Path) -> None:
    table = json.loads(path.read_text())
    del table["longest"]
    path.write_text(json.dumps(table))


def _point_elsewhere(path: Path) -> None:
    table = json.loads(path.read_text())
    path.write_text(json.dumps({**table, "file": "../other.faiss"}))


@pytest.mark.parametrize(
    ("file", "harm", "says"),
    [
        ("index.faiss", Path.unlink, r"index\.faiss: no such file, though index\.json names it"),
        ("index.faiss", _cut, r"index\.faiss: damaged, its sha256"),
        ("index.faiss", _flip, r"index\.faiss: damaged, its sha256"),
        ("index.json", Path.unlink, r"index\.json: no such file; an index is a folder that holds it"),
        ("index.json", _cut, r"index\.json: damaged"),
        ("index.json", _shorten, r"index\.json: damaged, it contradicts index\.faiss"),
        ("index.json", _forget, r"index\.json: damaged"),
        ("index.json", _point_elsewhere, r"index\.json: damaged"),
    ],
)
def test_a_missing_or_damaged_file_is_named_in_one_line(file, harm, says: str, tmp_path: Path) -> None:
    saved(tmp_path / "index")
    harm(tmp_path / "index" / file)
    with pytest.raises(EmbedmergeError, match=says) as caught:
        VectorIndex.load(tmp_path / "index")
    assert "\n" not in str(caught.value)


def test_what_cannot_be_saved_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EmbedmergeError, match="it is empty"):
        VectorIndex().save(tmp_path / "index")
    assert not (tmp_path / "index").exists()
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "mine.txt").write_text("keep")
    with pytest.raises(EmbedmergeError, match="the target is not empty"):
        saved(tmp_path / "notes")
    assert (tmp_path / "notes" / "mine.txt").read_text() == "keep"


def test_a_full_disk_is_one_line_and_the_old_index_stays(tmp_path: Path) -> None:
    import resource

    folder = tmp_path / "index"
    index = saved(folder)
    wanted = answers(index)
    index.add(vectors(40_000, 3), [f"new{row}" for row in range(40_000)])
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, limits[1]))
    try:
        with pytest.raises(EmbedmergeError, match="the index cannot be written") as caught:
            index.save(folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert "\n" not in str(caught.value)
    assert answers(VectorIndex.load(folder)) == wanted
    assert sorted(path.name for path in folder.iterdir()) == ["index.faiss", "index.json"]


def test_nothing_heavy_is_imported_with_the_package() -> None:
    program = "import sys, embedmerge.retrieval.index; print(*{'faiss', 'torch', 'mteb'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
