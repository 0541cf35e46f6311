"""Write beside the target and rename: a killed process leaves the old state or the new one, never half."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedmerge.errors import EmbedmergeError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

UNFINISHED = ".unfinished"
# What tempfile makes of the prefix `.TARGET.` that every write below gives it.
LEFTOVER = re.compile(rf"\.(?P<target>.+)\.[a-z0-9_]{{8}}({re.escape(UNFINISHED)})?")


def _fsync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """Yield a file beside `path` that replaces it when the block ends well, and vanishes otherwise.

    Who writes it flushes it to the disk.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    os.close(descriptor)
    beside = Path(name)
    try:
        yield beside
        beside.chmod(0o644)
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def write_bytes(path: Path, data: bytes) -> None:
    """Replace `path` by `data` in one step."""
    with new_file(path) as beside, beside.open("wb") as handle:
        handle.write(data)
        handle.flush()
        os.fsync(handle.fileno())


def write_text(path: Path, text: str) -> None:
    """Replace `path` by `text` (UTF-8) in one step."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Replace `path` by `value` as indented JSON with a final newline, in one step."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def refuse_occupied(target: Path) -> None:
    """Raise where `target` exists and is anything but an empty folder.

    Raises:
        EmbedmergeError: The target is a file, or a folder that holds something.
    """
    if target.is_dir() and not any(target.iterdir()):
        return
    if target.exists():
        msg = f"{target}: the target is not empty; name another folder, or remove this one first"
        raise EmbedmergeError(msg)


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """Yield a folder beside `target` that becomes `target` when the block ends well, and vanishes otherwise.

    What a killed process left beside this target is removed first.

    Raises:
        EmbedmergeError: The target is occupied, before anything is written.
    """
    refuse_occupied(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(target)
    beside = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=UNFINISHED, dir=target.parent))
    try:
        with _locked(beside):
            yield beside
        beside.chmod(0o755)
        if target.is_dir():
            target.rmdir()
        beside.rename(target)
        _fsync_folder(target.parent)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise


def _remove_abandoned(target: Path) -> None:
    """Remove unfinished folders of this target whose process is gone, which is when their lock is free."""
    for folder in leftovers(target.parent, [target.name]):
        if folder.name.endswith(UNFINISHED) and folder.is_dir():
            with _locked(folder) as free:
                if free:
                    shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _locked(folder: Path) -> Iterator[bool]:
    """Hold a folder, if nobody else does; the lock goes with the process, however that ends.

    Yields whether it is held: some file systems know no locks on folders.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        yield _lock(descriptor)
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def leftovers(folder: Path, names: Sequence[str] | None = None) -> list[Path]:
    """What killed processes left beside the targets of this folder.

    Args:
        folder: Where to look; need not exist.
        names: Names of the targets, so that nobody else's files are taken for leftovers; None for any
            name, in a folder that holds nothing but targets.
    """
    if not folder.is_dir():
        return []
    found = ((path, LEFTOVER.fullmatch(path.name)) for path in sorted(folder.iterdir()))
    return [path for path, match in found if match and (names is None or match["target"] in names)]
