"""Embeddings on disk, keyed by content.

A model's vectors lie in one file that is named by the digest of its weights; a vector's key covers the
text and every setting that matters. So two models cannot be mixed up, and a text is encoded once,
whatever texts it comes with.

What a batch is made of moves a vector by about 1e-7 in float32. A vector is kept as it was first
computed, and `Encoder` keeps whole windows of texts at a time, so an interrupted run that is started
again gives the very bits of one that was not.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import sqlite3
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar

from embedmerge.digest import content_digest
from embedmerge.errors import EmbedmergeError
from embedmerge.retrieval.vector_file import VectorFile, is_damage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from embedmerge.retrieval.settings import EncoderModel

    Vector = NDArray[np.float32]

Found = TypeVar("Found")
SUFFIX = ".sqlite"
NAME = "name"
logger = logging.getLogger(__name__)


def cache_folder() -> Path:
    """Where embedmerge keeps what can be computed again: `EMBEDMERGE_CACHE`, else the user's cache folder."""
    stated = os.environ.get("EMBEDMERGE_CACHE")
    if stated:
        return Path(stated).expanduser()
    root = os.environ.get("XDG_CACHE_HOME")
    return (Path(root) if root else Path.home() / ".cache") / "embedmerge"


def text_keys(settings: dict[str, Any], texts: Sequence[str]) -> list[bytes]:
    """Digest of everything besides the weights that each text's vector depends on.

    >>> one, other = text_keys({"prompt": "a"}, ["b"]), text_keys({"prompt": ""}, ["ab"])
    >>> len(one[0]), one == other
    (16, False)
    """
    start = hashlib.sha256(bytes.fromhex(content_digest(settings)))
    keys = []
    for text in texts:
        digest = start.copy()
        digest.update(text.encode("utf-8", "surrogatepass"))
        keys.append(digest.digest()[:16])
    return keys


@dataclass(frozen=True)
class Entry:
    """What is kept of one model.

    Attributes:
        model: Digest of its weights and module files.
        name: What it was called when it was first encoded with.
        texts: Number of vectors; None where the file is damaged.
        bytes: Size on disk.
        used: When it was last read or written, in seconds since 1970.
    """

    model: str
    name: str
    texts: int | None
    bytes: int
    used: float


class EmbeddingCache:
    """Float32 embeddings in one file per model; a cache that fails costs time and nothing else.

    Args:
        folder: Where the files lie; created on the first store.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._stopped = False
        self._telling = Lock()

    @classmethod
    def of_user(cls) -> EmbeddingCache:
        """The one in the user's cache folder."""
        return cls(cache_folder() / "embeddings")

    def load(self, model: EncoderModel, keys: Sequence[bytes]) -> dict[bytes, Vector]:
        """The vectors that are there and sound."""
        file = self._file(model.sha256)
        nothing: tuple[dict[bytes, Vector], int] = ({}, 0)
        found, damaged = self._reading(file, lambda: file.read(keys), nothing)
        if damaged:
            logger.warning("%s: %d damaged embeddings; they are computed again", file.path, damaged)
        if found:
            _touch(file.path)
        return found

    def store(self, model: EncoderModel, vectors: Mapping[bytes, Vector]) -> None:
        """Keep vectors; on a full disk or where nothing can be written, say so once and go on."""
        file = self._file(model.sha256)

        def write() -> None:
            if file.fact(NAME) is None:
                file.note(NAME, model.name)
            file.write(vectors)

        self._writing(file, write)

    def fact(self, model: str, name: str) -> Any:
        """What was noted about a model under a name, or None."""
        file = self._file(model)
        found = self._reading(file, lambda: file.fact(name), None)
        return None if found is None else json.loads(found)

    def note(self, model: EncoderModel, name: str, value: Any) -> None:
        """Note something about the model that this one is `probed_as`."""
        file = self._file(model.probed_as)
        self._writing(file, lambda: file.note(name, json.dumps(value)))

    def size(self) -> int:
        """Bytes on disk."""
        return sum(_size(path) for path in self._paths())

    def entries(self) -> list[Entry]:
        """What is kept, the latest used first."""
        with self._held(fcntl.LOCK_SH):
            found = [_entry(path) for path in self._paths()]
        return sorted(found, key=lambda entry: (-entry.used, entry.model))

    def prune(
        self, *, max_bytes: int | None = None, older_than: float | None = None, model: str | None = None
    ) -> list[Entry]:
        """Remove models' embeddings, and return what was removed.

        Args:
            max_bytes: Remove the longest unused until no more is left than this.
            older_than: Remove what was not used for so many seconds.
            model: Remove the model of this name, or whose digest starts so.

        Raises:
            EmbedmergeError: Nothing is asked, or no model is called so.
        """
        if max_bytes is None and older_than is None and model is None:
            raise EmbedmergeError("pruning: say a size, an age or a model")
        kept = self.entries()
        gone: list[Entry] = []
        if model is not None:
            gone += _called(kept, model)
        if older_than is not None:
            gone += [entry for entry in kept if entry.used < time.time() - older_than]
        left = [entry for entry in kept if entry not in gone]
        while max_bytes is not None and left and sum(entry.bytes for entry in left) > max_bytes:
            gone.append(left.pop())
        removed = [entry for entry in kept if entry in gone]
        with self._held(fcntl.LOCK_EX):
            for entry in removed:
                _remove(self._file(entry.model).path)
        return removed

    def _file(self, model: str) -> VectorFile:
        return VectorFile(self.folder / f"{model}{SUFFIX}")

    def _paths(self) -> list[Path]:
        return sorted(self.folder.glob(f"*{SUFFIX}")) if self.folder.is_dir() else []

    def _reading(self, file: VectorFile, read: Callable[[], Found], otherwise: Found) -> Found:
        if self._stopped or not file.path.is_file():
            return otherwise
        try:
            with self._held(fcntl.LOCK_SH):
                return read()
        except (sqlite3.Error, OSError) as error:
            self._failed(file, error)
            return otherwise

    def _writing(self, file: VectorFile, write: Callable[[], object]) -> None:
        if self._stopped:
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with self._held(fcntl.LOCK_SH):
                write()
        except (sqlite3.Error, OSError) as error:
            self._failed(file, error)

    def _failed(self, file: VectorFile, error: Exception) -> None:
        if isinstance(error, sqlite3.Error) and is_damage(error):
            with self._telling, self._held(fcntl.LOCK_EX):
                if file.path.is_file():
                    logger.warning("%s: damaged (%s); its embeddings are computed again", file.path, error)
                    _remove(file.path)
            return
        with self._telling:
            if not self._stopped:
                self._stopped = True
                logger.warning("%s: %s; the run goes on without the embedding cache", self.folder, error)

    @contextmanager
    def _held(self, how: int) -> Iterator[None]:
        """Hold the folder, shared to use files and alone to remove them.

        SQLite's locks belong to a file that is there: removing one that another process has open would
        leave that process's journal beside a new file of the same name.
        """
        if not self.folder.is_dir():
            yield
            return
        descriptor = os.open(self.folder, os.O_RDONLY)
        try:
            with suppress(OSError):  # some file systems know no locks on folders
                fcntl.flock(descriptor, how)
            yield
        finally:
            os.close(descriptor)


def _entry(path: Path) -> Entry:
    file = VectorFile(path)
    texts: int | None
    try:
        name, texts = file.fact(NAME) or "", file.count()
    except sqlite3.Error:
        name, texts = "", None
    return Entry(path.stem, name, texts, _size(path), path.stat().st_mtime)


def _called(entries: Sequence[Entry], model: str) -> list[Entry]:
    found = [entry for entry in entries if entry.name == model or entry.model.startswith(model.lower())]
    if not found:
        raise EmbedmergeError(f"{model}: no such model in the embedding cache; `embedmerge cache` lists them")
    return found


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # another process removed it meanwhile
        return 0


def _touch(path: Path) -> None:
    try:
        os.utime(path)
    except OSError:
        logger.debug("%s: cannot say that it was used", path)


def _remove(path: Path) -> None:
    for each in (path, path.with_name(f"{path.name}-journal")):
        each.unlink(missing_ok=True)
