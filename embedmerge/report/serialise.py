"""A report as plain JSON types, and back."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

import numpy as np
from pydantic import TypeAdapter, ValidationError

from embedmerge.errors import EmbedmergeError
from embedmerge.evaluation import compare
from embedmerge.report import document, queries
from embedmerge.weighting import selection

DECIMALS = 6


def _plain(value: Any) -> Any:
    """Return `value` in JSON types; a type that JSON lacks is an error here, not when the file is written."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        # Adding zero turns a rounded -0.0 into 0.0.
        return round(value, DECIMALS) + 0.0
    if isinstance(value, PurePath):
        return value.as_posix()
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    msg = f"a report cannot hold a {type(value).__name__}"
    raise TypeError(msg)


def to_json(report: document.Report) -> dict[str, Any]:
    """Return a report in plain types, keys in the order the dataclasses declare, floats to six decimals.

    Args:
        report: The report.

    Returns:
        What `report.json` holds.

    Raises:
        TypeError: A parameter or setting is of a type that JSON has no word for.
    """
    plain: dict[str, Any] = _plain(dataclasses.asdict(report))
    return plain


def adapter() -> TypeAdapter[document.Report]:
    """What reads a report and says what one may hold."""
    # document.py names what others declare for the type checker only, so those names are handed in here.
    found = TypeAdapter(document.Report, config=None)
    found.rebuild(
        force=True,
        _types_namespace={
            **vars(compare),
            **vars(selection),
            **vars(queries),
            **vars(document),
            "Any": Any,
        },
    )
    return found


def from_json(data: dict[str, Any]) -> document.Report:
    """Return the report that `to_json` wrote.

    Args:
        data: The parsed `report.json`.

    Returns:
        The report; equal to the first one up to the rounding of its floats.

    Raises:
        EmbedmergeError: Something is missing or of another type than a report's.
    """
    try:
        return adapter().validate_python(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the whole file"
        msg = f"not a report of embedmerge: {where}: {first['msg']}"
        raise EmbedmergeError(msg) from error
