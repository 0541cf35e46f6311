"""The small files of a model folder, read whole; whatever is wrong with one is told in one line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from embedmerge.errors import EmbedmergeError

if TYPE_CHECKING:
    from pathlib import Path


def read_bytes(path: Path) -> bytes:
    """A file's content.

    Raises:
        EmbedmergeError: The file cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        msg = f"{path}: cannot be read ({error.strerror}); is the model folder complete?"
        raise EmbedmergeError(msg) from error


def read_text(path: Path) -> str:
    """A UTF-8 file's content.

    Raises:
        EmbedmergeError: The file cannot be read or is not UTF-8.
    """
    try:
        return read_bytes(path).decode("utf-8")
    except UnicodeDecodeError as error:
        raise EmbedmergeError(f"{path}: not UTF-8 text; fetch or save the model again") from error


def read_json(path: Path) -> Any:
    """A JSON file's content.

    Raises:
        EmbedmergeError: The file cannot be read or is not JSON.
    """
    content = read_bytes(path)
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        msg = f"{path}: not valid JSON ({error}); fetch or save the model again"
        raise EmbedmergeError(msg) from error


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file, empty where there is no such file.

    Raises:
        EmbedmergeError: The file cannot be read or holds anything else.
    """
    if not path.is_file():
        return {}
    value = read_json(path)
    if not isinstance(value, dict):
        msg = f"{path}: a JSON object is wanted, not a {type(value).__name__}; fetch or save the model again"
        raise EmbedmergeError(msg)
    return value


def stated_integer(stated: dict[str, Any], key: str, path: Path) -> int | None:
    """A whole number that a JSON object may state, None where it does not.

    Args:
        stated: The object.
        key: What is asked for.
        path: The object's file, for the message.

    Raises:
        EmbedmergeError: It states something else than a number.
    """
    value = stated.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value // 1:
        msg = f"{path}: {key} is {value!r}, where a whole number is wanted; fetch or save the model again"
        raise EmbedmergeError(msg)
    return int(value)
