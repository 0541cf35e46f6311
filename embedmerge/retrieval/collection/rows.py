"""Lines of text files and rows of tables, plain or compressed, one at a time, each with where it lies."""

from __future__ import annotations

import gzip
import json
import zlib
from typing import TYPE_CHECKING, Any

from embedmerge.errors import EmbedmergeError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import TextIO

TABLES = (".jsonl", ".jsonl.gz", ".json", ".json.gz", ".parquet")
WANTED = "a collection has a corpus, queries and qrels, such as corpus.jsonl, queries.jsonl, qrels/test.tsv"
BATCH = 1024  # rows of a parquet file that are in memory at a time


def ending(path: Path, endings: tuple[str, ...]) -> str | None:
    """The one of the endings that a file's name has.

    >>> from pathlib import Path
    >>> ending(Path("corpus.jsonl.gz"), TABLES)
    '.jsonl.gz'
    """
    return next((end for end in endings if path.name.lower().endswith(end)), None)


def first_of(folder: Path, stem: str, endings: tuple[str, ...]) -> Path:
    """The file of this name with the first of the endings that there is, else with the first of all."""
    files = [folder / f"{stem}{end}" for end in endings]
    return next((file for file in files if file.is_file()), files[0])


def lines(path: Path) -> Iterator[tuple[str, str]]:
    """Lines of a text file with where they lie, blank ones left out.

    Only a line feed ends a line: texts may hold all other separators that Unicode knows.

    Raises:
        EmbedmergeError: Missing, damaged, or not UTF-8.
    """
    try:
        with _opened(path) as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield f"{path}:{number}", line.rstrip("\r\n")
    except FileNotFoundError as error:
        raise EmbedmergeError(f"{path}: no such file; {WANTED}") from error
    except UnicodeDecodeError as error:
        raise EmbedmergeError(f"{path}: cannot be read as UTF-8 text ({error})") from error
    except (OSError, EOFError, zlib.error) as error:
        raise EmbedmergeError(
            f"{path}: damaged, or cannot be read ({error}); bring the file again"
        ) from error


def _opened(path: Path) -> TextIO:
    if path.name.endswith(".gz"):
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="\n")
    return path.open(encoding="utf-8-sig", newline="\n")


def rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Rows of a JSONL or parquet file with where they lie.

    Raises:
        EmbedmergeError: Missing, damaged, or a line that is no JSON object.
    """
    return _parquet_rows(path) if path.name.endswith(".parquet") else _json_rows(path)


def _json_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    decode = json.JSONDecoder(strict=False).decode  # texts may hold control characters
    for where, line in lines(path):
        try:
            row = decode(line)
        except (ValueError, RecursionError) as error:
            raise EmbedmergeError(f"{where}: not a JSON object ({error})") from error
        if not isinstance(row, dict):
            raise EmbedmergeError(f"{where}: not a JSON object")
        yield where, row


def _parquet_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    from pyarrow import ArrowException, parquet  # type: ignore[import-untyped]

    number = 0
    try:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(BATCH):
                for row in batch.to_pylist():
                    number += 1
                    yield f"{path}: row {number}", row
    except FileNotFoundError as error:
        raise EmbedmergeError(f"{path}: no such file; {WANTED}") from error
    except (ArrowException, OSError, ValueError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise EmbedmergeError(f"{path}: damaged, or no parquet file ({reason}); bring it again") from error
