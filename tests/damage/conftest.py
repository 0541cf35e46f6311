"""What a damaged input is run through: the command line as a user calls it."""

from __future__ import annotations

import hashlib
import shutil
import signal
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from embedmerge.cli import app

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SECONDS = 30


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    code: int
    error: str
    output: Path

    def require_refused(self) -> None:
        """One readable line on standard error, exit code 2, nothing written."""
        assert self.code == 2, (self.code, self.error)
        lines = self.error.strip().splitlines()
        assert len(lines) == 1, self.error
        assert lines[0].startswith("error: ")
        assert "Traceback" not in self.error
        assert "internal error" not in self.error
        assert 20 < len(lines[0]) < 800, lines[0]
        assert list(self.output.parent.iterdir()) == []


class Scene:
    """A base and an expert to damage, merged by the command line."""

    def __init__(self, folder: Path, base: Path, expert: Path) -> None:
        self.folder = folder
        self.base = shutil.copytree(base, folder / "base")
        self.expert = shutil.copytree(expert, folder / "expert")
        (folder / "outputs").mkdir()
        self.output = folder / "outputs" / "out"

    def merge(self, *more: str) -> Outcome:
        """Merge, and see that the sources are as they were."""
        before = self.digest()
        arguments = ["merge", "--base", self.base, "--expert", f"e={self.expert}", "-o", self.output, *more]
        if "--weights" not in more and "--method" not in more:
            arguments += ["--weights", "0.5,0.5"]
        with at_most(SECONDS):
            result = CliRunner().invoke(app, [str(word) for word in arguments])
        assert self.digest() == before, "a source was changed"
        return Outcome(result.exit_code, result.stderr, self.output)

    def digest(self) -> dict[str, str]:
        """Every source file's content."""
        files = [path for path in self.folder.rglob("*") if path.is_file() and "outputs" not in path.parts]
        return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@contextmanager
def at_most(seconds: int) -> Iterator[None]:
    """Turn a hang into a failure."""

    def stop(*_: object) -> None:
        raise TimeoutError

    signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)


@pytest.fixture
def scene(tmp_path: Path, base: Path, expert: Path) -> Scene:
    """A base and an expert of its own for each case."""
    return Scene(tmp_path, base, expert)


@pytest.fixture
def damaged_copies(tmp_path: Path, base: Path, expert: Path) -> Callable[[int], Scene]:
    """Fresh copies by number."""

    def make(number: int) -> Scene:
        folder = tmp_path / str(number)
        folder.mkdir()
        return Scene(folder, base, expert)

    return make
