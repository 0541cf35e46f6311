"""A folder that takes the place of another in one step."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING

from embedmerge.atomic import new_folder
from embedmerge.errors import EmbedmergeError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HERE = -100  # AT_FDCWD
EXCHANGE = 2  # RENAME_EXCHANGE


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keep every other process from replacing a folder while this one reads and replaces it.

    Raises:
        EmbedmergeError: It is not there, or another process does, or has just done, the same.
    """
    restore(folder)
    if not folder.is_dir():
        raise EmbedmergeError(
            f"{folder}: no such bundle; `embedmerge index MODEL CORPUS -o {folder}` makes one"
        )
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise EmbedmergeError(
                f"{folder}: another process is changing it; try again when it has ended"
            ) from error
        if not os.path.samestat(os.fstat(descriptor), folder.stat()):
            raise EmbedmergeError(f"{folder}: another process has just changed it; try again")
        yield
    finally:
        os.close(descriptor)


@contextmanager
def replacement(folder: Path) -> Iterator[Path]:
    """Yield a folder beside another that takes its place when the block ends well, and vanishes otherwise.

    A killed process leaves the old folder or the new one, whole, under the name; what else it leaves is
    removed the next time.
    """
    successor = folder.with_name(f".{folder.name}.next")
    for left in (successor, _aside(folder)):
        shutil.rmtree(left, ignore_errors=True)
    with new_folder(successor) as beside:
        yield beside
    exchange(successor, folder)
    shutil.rmtree(successor, ignore_errors=True)


def exchange(one: Path, other: Path) -> None:
    """Let two folders change names, in one step where the system can, else in three.

    Raises:
        OSError: They cannot be renamed.
    """
    try:
        _renameat2(one, other)
    except OSError as error:
        if error.errno not in (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP):
            raise
        aside = _aside(other)
        other.rename(aside)
        one.rename(other)
        aside.rename(one)


def restore(folder: Path) -> None:
    """Put a folder back that an `exchange` in three steps was killed in the midst of."""
    if not folder.exists() and _aside(folder).is_dir():
        _aside(folder).rename(folder)


def _aside(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.aside")


def _renameat2(one: Path, other: Path) -> None:
    call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if call is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    if call(HERE, os.fsencode(one), HERE, os.fsencode(other), EXCHANGE) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(one))
