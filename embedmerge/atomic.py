"""Write beside the target and rename: a killed process leaves the old state or the new one, never half."""

from __future__ import annotations

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

# What tempfile makes of the prefix `.TARGET.` that every write below gives it.
LEFTOVER = re.compile(r"\.(?P<target>.+)\.[a-z0-9_]{8}")


def _fsync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_bytes(path: Path, data: bytes) -> None:
    """Replace `path` by `data` in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    beside = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as handle:
            handle.write(data)
            handle.flush()
            os.fsync(handle.fileno())
        beside.chmod(0o644)
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


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

    Raises:
        EmbedmergeError: The target is occupied, before anything is written.
    """
    refuse_occupied(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        yield beside
        beside.chmod(0o755)
        if target.is_dir():
            target.rmdir()
        beside.rename(target)
        _fsync_folder(target.parent)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise


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
