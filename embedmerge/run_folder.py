"""The folder of a run: whose it is, who is at work there, what is in it."""

from __future__ import annotations

import fcntl
import os
import shutil
from contextlib import contextmanager
from itertools import chain
from typing import TYPE_CHECKING

from embedmerge.atomic import leftovers
from embedmerge.errors import EmbedmergeError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LOCK = "recipe.lock.yaml"
WEIGHTS = "weights.json"
JOURNAL = "search.journal"
CANDIDATES = "candidates"
SCORES = "scores"
RUNNING = ".running"
OWN = (WEIGHTS, JOURNAL, CANDIDATES, SCORES, "report.json", "report.html", "model")


def require_own(folder: Path) -> None:
    """Refuse a folder that holds anything but a run; its lock is what tells a run.

    Raises:
        EmbedmergeError: It is a file, or holds something else.
    """
    if not folder.exists() or (folder / LOCK).exists():
        return
    if not folder.is_dir():
        raise EmbedmergeError(f"{folder}: a file, where the run folder should be; name another with -o")
    ours = {folder / RUNNING, *leftovers(folder, (*OWN, LOCK))}
    foreign = sorted(path.name for path in folder.iterdir() if path not in ours)
    if foreign:
        msg = f"{folder}: not empty and no run of embedmerge's ({foreign[0]} is in it); give another -o"
        raise EmbedmergeError(msg)


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keep a second run out of the folder, and sweep up what a killed one left.

    Raises:
        EmbedmergeError: Another run is at work there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / RUNNING).open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise EmbedmergeError(
                f"{folder}: another run is at work there; wait for it, or name another"
            ) from error
        swept = [leftovers(folder, (*OWN, LOCK)), leftovers(folder / CANDIDATES), leftovers(folder / SCORES)]
        for path in chain(*swept):
            _remove(path)
        yield


def clear(folder: Path) -> None:
    """Remove a run; its lock goes last, so that what a kill leaves is still this run's."""
    for name in (*OWN, LOCK):
        _remove(folder / name)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def link_tree(source: Path, target: Path) -> None:
    """Copy a folder without copying its bytes where the file system can share them."""
    shutil.copytree(source, target, copy_function=_link_or_copy, dirs_exist_ok=True)


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
