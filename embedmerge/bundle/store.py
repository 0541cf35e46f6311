"""The document store: passages as JSON lines, read one at a time from where they lie."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, overload

import numpy as np

from embedmerge.bundle.passage import Passage
from embedmerge.errors import EmbedmergeError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path


class PassageStore(Sequence[Passage]):
    """Passages by row; eight bytes of each are in memory.

    Args:
        path: What `write_lines` wrote.

    Raises:
        EmbedmergeError: The file is missing or damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            # Kept open: who replaces the bundle meanwhile takes the name from the file, not the content.
            self._file = path.open("rb")
            ends = np.cumsum(np.fromiter(map(len, self._file), np.int64))
        except OSError as error:
            raise EmbedmergeError(
                f"{path}: cannot be read ({error.strerror}); index the corpus again"
            ) from error
        self._starts = np.concatenate([[0], ends]).astype(np.int64)

    def __len__(self) -> int:
        return len(self._starts) - 1

    @overload
    def __getitem__(self, row: int) -> Passage: ...

    @overload
    def __getitem__(self, row: slice) -> list[Passage]: ...

    def __getitem__(self, row: int | slice) -> Passage | list[Passage]:
        """The passage of a row, or those of some rows."""
        if isinstance(row, slice):
            return [self._parsed(line) for line in self.lines(range(len(self))[row])]
        return self._parsed(next(self.lines([range(len(self))[row]])))

    def lines(self, rows: Iterable[int]) -> Iterator[bytes]:
        """The lines of some rows as they are in the file."""
        for row in rows:
            start, end = (int(place) for place in self._starts[row : row + 2])
            yield os.pread(self._file.fileno(), end - start, start)

    def close(self) -> None:
        """Close the file; nothing can be read afterwards."""
        self._file.close()

    def _parsed(self, line: bytes) -> Passage:
        try:
            return Passage(**json.loads(line))
        except (ValueError, TypeError) as error:
            raise EmbedmergeError(f"{self.path}: damaged ({error}); index the corpus again") from error


class Encoded(Sequence[str]):
    """What is encoded of the passages of a store, read when it is asked for.

    Args:
        store: The passages.
        first: Row of the first that counts.
    """

    def __init__(self, store: PassageStore, first: int = 0) -> None:
        self._store = store
        self._rows = range(len(store))[first:]

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, row: int) -> str: ...

    @overload
    def __getitem__(self, row: slice) -> list[str]: ...

    def __getitem__(self, row: int | slice) -> str | list[str]:
        """The text of a passage, or those of some."""
        if isinstance(row, slice):
            rows = self._rows[row]
            return [passage.encoded for passage in self._store[rows.start : rows.stop : rows.step]]
        return self._store[self._rows[row]].encoded


def write_lines(path: Path, lines: Iterable[bytes]) -> None:
    """Write a document store, line by line, and flush it to the disk."""
    with path.open("wb") as handle:
        handle.writelines(lines)
        handle.flush()
        os.fsync(handle.fileno())
