"""Queries written one in every line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from embedmerge.errors import EmbedmergeError

if TYPE_CHECKING:
    from pathlib import Path


def query_lines(text: str) -> list[str]:
    r"""The queries of a text, empty lines left out.

    >>> query_lines("what is a guard\n\n slerp \n")
    ['what is a guard', 'slerp']
    """
    return [line.strip() for line in text.splitlines() if line.strip()]


def read_query_lines(path: Path) -> list[str]:
    """The queries of a file.

    Raises:
        EmbedmergeError: It cannot be read.
    """
    try:
        return query_lines(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        msg = f"{path}: {error.strerror}; give a file with one query in every line"
        raise EmbedmergeError(msg) from error
    except UnicodeDecodeError as error:
        raise EmbedmergeError(f"{path}: not UTF-8 text; write one query in every line") from error
