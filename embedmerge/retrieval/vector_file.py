"""Vectors of one model by key, in one SQLite file, each with a checksum."""

from __future__ import annotations

import sqlite3
import zlib
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    Vector = NDArray[np.float32]

SCHEMA = """
CREATE TABLE IF NOT EXISTS vectors
  (key BLOB NOT NULL UNIQUE, checksum INTEGER NOT NULL, vector BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS facts (name TEXT NOT NULL UNIQUE, value TEXT NOT NULL);
"""
PAGE = 16_384
SECONDS = 60  # to wait for another process's write
AT_A_TIME = 500  # keys in a statement
# The primary codes; the rest of an extended code says where it was seen.
DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


def is_damage(error: sqlite3.Error) -> bool:
    """Whether an error says that the file is broken, rather than busy, full or out of reach."""
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in DAMAGED


class VectorFile:
    """One model's vectors and facts; every call opens the file and closes it.

    SQLite's own locks keep processes and threads apart, and its journal makes every call happen wholly
    or not at all.

    Args:
        path: Created on the first write.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self, keys: Sequence[bytes]) -> tuple[dict[bytes, Vector], int]:
        """Vectors of the keys that are there, and how many more are there but damaged.

        Raises:
            sqlite3.Error: The file cannot be read.
        """
        found: dict[bytes, Vector] = {}
        damaged = 0
        with self._open() as connection:
            for start in range(0, len(keys), AT_A_TIME):
                some = keys[start : start + AT_A_TIME]
                places = ",".join("?" * len(some))
                rows = connection.execute(
                    f"SELECT key, checksum, vector FROM vectors WHERE key IN ({places})", some
                )
                for key, checksum, data in rows:
                    if zlib.crc32(data, zlib.crc32(key)) == checksum:
                        found[key] = np.frombuffer(data, "<f4")
                    else:
                        damaged += 1
        return found, damaged

    def write(self, vectors: Mapping[bytes, Vector]) -> None:
        """Keep vectors, all or none; those under the same keys are replaced.

        Raises:
            sqlite3.Error: The file cannot be written.
        """
        rows = ((key, vector.astype("<f4").tobytes()) for key, vector in vectors.items())
        summed = [(key, zlib.crc32(data, zlib.crc32(key)), data) for key, data in rows]
        with self._open() as connection, connection:
            connection.executemany("INSERT OR REPLACE INTO vectors VALUES (?, ?, ?)", summed)

    def fact(self, name: str) -> str | None:
        """What was noted under a name.

        Raises:
            sqlite3.Error: The file cannot be read.
        """
        with self._open() as connection:
            row = connection.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return str(row[0]) if row else None

    def note(self, name: str, value: str) -> None:
        """Note something.

        Raises:
            sqlite3.Error: The file cannot be written.
        """
        with self._open() as connection, connection:
            connection.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, value))

    def count(self) -> int:
        """Number of vectors.

        Raises:
            sqlite3.Error: The file cannot be read.
        """
        with self._open() as connection:
            return int(connection.execute("SELECT count(*) FROM vectors").fetchone()[0])

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self.path, timeout=SECONDS)) as connection:
            connection.execute(f"PRAGMA page_size = {PAGE}")
            # A power cut may lose the last writes, never what was there: all of it can be computed again.
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.executescript(SCHEMA)
            yield connection
