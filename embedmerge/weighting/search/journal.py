"""What a search has looked at, kept line by line, so that it can be killed and go on."""

from __future__ import annotations

import fcntl
import json
import os
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any, BinaryIO, Self

import numpy as np

from embedmerge.digest import content_digest
from embedmerge.errors import EmbedmergeError
from embedmerge.weighting.quality import Quality, Side
from embedmerge.weighting.search.space import Point

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

HEADER = "embedmerge search journal 1"


@dataclass(frozen=True)
class Record:
    """A point that was looked at.

    Attributes:
        point: The point.
        objective: Its quality on all queries, by what is maximised.
        reported: The same, by what is reported.
    """

    point: Point
    objective: Quality
    reported: Quality


class Journal:
    """A file of records, its first line saying of which search; a context that holds it alone.

    Each record is one JSON line, written and flushed to the disk when its point has been looked at. A last
    line that a kill has cut off is dropped.

    Args:
        path: The file, created with its folder; None to keep nothing.
        content: Everything that the search depends on, in plain types.
        like: A quality with the queries' groups.

    Attributes:
        records: By their point's key.

    Raises:
        EmbedmergeError: The file is another search's journal or none, is damaged, or is in use.
    """

    def __init__(self, path: Path | None, content: dict[str, Any], like: Quality) -> None:
        self._header = json.dumps({"journal": HEADER, "search": content_digest(content)}).encode() + b"\n"
        self._path = path
        self._like = like
        self._lock = Lock()
        self._file: BinaryIO | None = None
        self.records: dict[str, Record] = {}

    def __enter__(self) -> Self:
        if self._path is None:
            return self
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._path.open("a+b")
        try:
            self._read()
        except BaseException:
            self._file.close()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        if self._file is not None:
            self._file.close()

    def add(self, record: Record) -> None:
        """Keep a record; may be called from several threads."""
        with self._lock:
            self.records[record.point.key] = record
            self._append(json.dumps(_plain(record)).encode() + b"\n")

    def _append(self, line: bytes) -> None:
        if self._file is not None:
            self._file.write(line)
            self._file.flush()
            os.fsync(self._file.fileno())

    def _read(self) -> None:
        assert self._file is not None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            msg = f"{self._path}: another process is writing this journal; wait for it, or name another file"
            raise EmbedmergeError(msg) from error
        self._file.seek(0)
        content = self._file.read()
        header, *lines = content.splitlines(keepends=True) or [b""]
        if header != self._header:
            if not self._header.startswith(content):
                msg = f"{self._path}: not this search's journal; move it away, or name another file"
                raise EmbedmergeError(msg)
            self._file.truncate(0)
            self._append(self._header)
            return
        whole = len(header)
        for number, line in enumerate(lines, 2):
            record = self._parsed(line)
            if record is not None:
                self.records[record.point.key] = record
                whole += len(line)
            elif number <= len(lines):
                msg = f"{self._path}:{number}: not a record of this search; take out the line"
                raise EmbedmergeError(msg)
        self._file.truncate(whole)

    def _parsed(self, line: bytes) -> Record | None:
        """The record of a line, None where it is none or was cut off."""
        if not line.endswith(b"\n"):
            return None
        try:
            plain = json.loads(line)
            point = Point(tuple(plain["weights"]), plain["parameters"])
            objective = self._quality(plain["objective"])
            reported = self._quality(plain["reported"]) if "reported" in plain else objective
        except (ValueError, KeyError, TypeError):
            return None
        return Record(point, objective, reported)

    def _quality(self, plain: dict[str, list[float]]) -> Quality:
        sides = []
        for name, like in (("target", self._like.target), ("general", self._like.general)):
            values = np.array([plain[name]], dtype=np.float64)
            sides.append(Side(values.reshape(1, len(like.groups)), like.groups))
        return Quality(*sides)


def _plain(record: Record) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "weights": list(record.point.weights),
        "parameters": record.point.parameters,
        "objective": _values(record.objective),
    }
    return plain if record.reported is record.objective else {**plain, "reported": _values(record.reported)}


def _values(quality: Quality) -> dict[str, list[float]]:
    return {"target": _listed(quality.target.values), "general": _listed(quality.general.values)}


def _listed(values: NDArray[np.float64]) -> list[float]:
    numbers: list[float] = values[0].tolist()
    return numbers
