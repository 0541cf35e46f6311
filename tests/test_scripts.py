from __future__ import annotations

import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TOOLS = ("bash", "awk", "cat", "cut", "dirname", "env", "sha256sum", "df", "mkdir", "rm", "ls")


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """The scripts and what they read, with nothing installed."""
    folder = tmp_path / "clone"
    shutil.copytree(ROOT / "scripts", folder / "scripts")
    for name in ("pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, folder / name)
    return folder


def tools(folder: Path, **fakes: str) -> Path:
    """A PATH of the usual tools and of fakes."""
    folder.mkdir()
    for name in TOOLS:
        found = shutil.which(name)
        if found and name not in fakes:
            (folder / name).symlink_to(found)
    for name, script in fakes.items():
        (folder / name).write_text(f"#!{shutil.which('bash')}\n{script}\n")
        (folder / name).chmod(stat.S_IRWXU)
    return folder


def called(clone: Path, path: Path) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": str(path), "HOME": os.environ.get("HOME", "/")}
    command = [str(clone / "scripts" / "test")]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def test_an_old_python_is_one_readable_line(clone: Path, tmp_path: Path) -> None:
    old = 'if [ "$1" = --version ]; then echo Python 3.9.1; else exit 1; fi'
    done = called(clone, tools(tmp_path / "bin", python3=old))
    assert done.returncode == 2
    assert done.stderr.strip() == (
        "embedmerge: Python 3.11 or newer is needed; found Python 3.9.1. Set PYTHON to one."
    )
    assert not (clone / ".venv").exists()


def test_a_full_disk_is_one_readable_line(clone: Path, tmp_path: Path) -> None:
    full = "printf 'Filesystem 1024-blocks Used Available Capacity Mounted\\n/dev/x 9 9 300000 99%% /\\n'"
    done = called(clone, tools(tmp_path / "bin", python3="exit 0", df=full))
    assert done.returncode == 2
    assert "only 292 MiB free" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_second_run_installs_nothing(clone: Path, tmp_path: Path) -> None:
    """The environment is marked as installed; a pip call would fail on the fake interpreter."""
    log = tmp_path / "log"
    make_venv = f'echo "$@" >> {log}\nif [ "$1 $2" = "-m venv" ]; then mkdir -p $3/bin; ' + (
        f"cp {tmp_path}/bin/python3 $3/bin/python; fi; exit 0"
    )
    path = tools(tmp_path / "bin", python3=make_venv)
    (path / "cp").symlink_to(shutil.which("cp"))
    called(clone, path)
    called(clone, path)
    calls = log.read_text().splitlines()
    assert sum("pip install" in call for call in calls) == 1
    assert sum("-m pytest" in call for call in calls) == 2
