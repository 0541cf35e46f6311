from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys

import pytest

from embedmerge.atomic import new_folder, refuse_occupied, write_bytes, write_json, write_text
from embedmerge.errors import EmbedmergeError


class Interrupted(BaseException):
    """Like KeyboardInterrupt: no Exception."""


def killed(script, *arguments):
    """Run a script that must end by killing itself."""
    prelude = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from embedmerge import atomic\n"
        "def die(*_, **__): os.kill(os.getpid(), signal.SIGKILL)\n"
        "target = Path(sys.argv[1])\n"
    )
    command = [sys.executable, "-c", prelude + script, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def visible(folder):
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def test_write_bytes_creates_the_folders_on_the_way_and_replaces(tmp_path):
    path = tmp_path / "a" / "b" / "c.bin"
    write_bytes(path, b"old")
    write_bytes(path, b"new")
    assert path.read_bytes() == b"new"
    assert os.listdir(path.parent) == ["c.bin"]  # noqa: PTH208


def test_written_files_can_be_read_by_others(tmp_path):
    write_bytes(tmp_path / "f", b"x")
    assert mode(tmp_path / "f") == 0o644


def test_write_text_is_utf_8(tmp_path):
    write_text(tmp_path / "f", "grüße 検索")
    assert (tmp_path / "f").read_bytes() == "grüße 検索".encode()


def test_write_json_is_readable_by_people_and_ends_in_a_newline(tmp_path):
    write_json(tmp_path / "f.json", {"name": "grüße", "n": [1, 2]})
    text = (tmp_path / "f.json").read_text(encoding="utf-8")
    assert json.loads(text) == {"name": "grüße", "n": [1, 2]}
    assert "grüße" in text
    assert text.endswith("}\n")
    assert text.count("\n") > 2


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failing_write_leaves_the_old_file_and_nothing_beside(tmp_path, monkeypatch, step):
    (tmp_path / "f").write_bytes(b"old")

    def fail(*_):
        raise Interrupted

    monkeypatch.setattr(f"os.{step}", fail)
    with pytest.raises(Interrupted):
        write_bytes(tmp_path / "f", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["f"]
    assert (tmp_path / "f").read_bytes() == b"old"


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_write_killed_before_the_rename_leaves_the_old_file(tmp_path, step):
    (tmp_path / "f").write_bytes(b"old")
    killed(f"os.{step} = die\natomic.write_bytes(target, b'n' * 100_000)", tmp_path / "f")
    assert visible(tmp_path) == ["f"]
    assert (tmp_path / "f").read_bytes() == b"old"


def test_a_write_killed_after_the_rename_leaves_the_new_file(tmp_path):
    (tmp_path / "f").write_bytes(b"old")
    killed(
        "replace = os.replace\nos.replace = lambda *a, **k: (replace(*a, **k), die())\n"
        "atomic.write_bytes(target, b'n' * 100_000)",
        tmp_path / "f",
    )
    assert [path.name for path in tmp_path.iterdir()] == ["f"]
    assert (tmp_path / "f").read_bytes() == b"n" * 100_000


def test_a_new_folder_appears_whole_when_the_block_ends(tmp_path):
    target = tmp_path / "runs" / "out"
    with new_folder(target) as folder:
        (folder / "sub").mkdir()
        (folder / "sub" / "f").write_text("x")
        assert not target.exists()
        assert folder.parent == target.parent  # the rename stays on one file system
    assert (target / "sub" / "f").read_text() == "x"
    assert list(target.parent.iterdir()) == [target]
    assert mode(target) == 0o755


def test_an_empty_target_is_taken(tmp_path):
    (tmp_path / "out").mkdir()
    with new_folder(tmp_path / "out") as folder:
        (folder / "f").write_text("x")
    assert visible(tmp_path / "out") == ["f"]


@pytest.mark.parametrize("error", [Interrupted, ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("empty", [True, False])
def test_an_error_in_the_block_leaves_nothing(tmp_path, error, empty):
    if empty:
        (tmp_path / "out").mkdir()
    with pytest.raises(error), new_folder(tmp_path / "out") as folder:
        (folder / "sub").mkdir()
        (folder / "sub" / "f").write_text("x")
        raise error
    assert [path.name for path in tmp_path.iterdir()] == (["out"] if empty else [])
    assert not empty or not any((tmp_path / "out").iterdir())


def test_a_failing_rename_leaves_nothing(tmp_path, monkeypatch):
    def fail(*_):
        raise Interrupted

    monkeypatch.setattr("os.rename", fail)
    with pytest.raises(Interrupted), new_folder(tmp_path / "out") as folder:
        (folder / "f").write_text("x")
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("empty", [True, False])
def test_a_block_that_is_killed_leaves_no_target_or_the_empty_one(tmp_path, empty):
    target = tmp_path / "out"
    if empty:
        target.mkdir()
    killed(
        "with atomic.new_folder(target) as folder:\n    (folder / 'half').write_text('x')\n    die()", target
    )
    assert visible(tmp_path) == (["out"] if empty else [])
    assert not empty or not any(target.iterdir())
    assert len(list(tmp_path.iterdir())) == 1 + empty
    with new_folder(target) as folder:  # what is left does not stand in the way, and goes
        (folder / "f").write_text("x")
    assert visible(target) == ["f"]
    assert list(tmp_path.iterdir()) == [target]


def test_what_another_process_is_filling_and_what_is_not_ours_stays(tmp_path):
    foreign = tmp_path / ".out.backup01"
    foreign.mkdir()
    with new_folder(tmp_path / "out") as mine:
        with pytest.raises(Interrupted), new_folder(tmp_path / "out"):
            assert mine.is_dir()
            raise Interrupted
        (mine / "f").write_text("x")
    assert foreign.is_dir()
    assert visible(tmp_path) == ["out"]
    assert visible(tmp_path / "out") == ["f"]


def test_a_folder_killed_after_the_rename_is_whole(tmp_path):
    target = tmp_path / "out"
    killed(
        "atomic._fsync_folder = die\n"
        "with atomic.new_folder(target) as folder:\n    (folder / 'f').write_text('x')",
        target,
    )
    assert list(tmp_path.iterdir()) == [target]
    assert (target / "f").read_text() == "x"


@pytest.mark.parametrize("occupant", ["file", "folder", "hidden"])
def test_an_occupied_target_is_refused_and_untouched(tmp_path, occupant):
    target = tmp_path / "out"
    if occupant == "file":
        target.write_text("mine")
    else:
        target.mkdir()
        (target / (".mine" if occupant == "hidden" else "mine")).write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    for attempt in (lambda: refuse_occupied(target), new_folder(target).__enter__):
        with pytest.raises(EmbedmergeError, match="not empty") as caught:
            attempt()
        assert str(target) in str(caught.value)
        assert sorted(tmp_path.rglob("*")) == before


def test_absent_and_empty_targets_are_free(tmp_path):
    refuse_occupied(tmp_path / "absent")
    refuse_occupied(tmp_path)
    assert not (tmp_path / "absent").exists()
