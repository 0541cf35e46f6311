"""The published schema of report.json, made from the dataclasses that it is written from."""

from __future__ import annotations

import inspect
import re
from typing import Any

from embedmerge.report.serialise import adapter

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_ATTRIBUTE = re.compile(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", re.MULTILINE)


def json_schema() -> dict[str, Any]:
    """What `report.json` may hold, as JSON Schema; every field with what its dataclass says of it.

    >>> json_schema()["properties"]["tool"]["description"]
    '`embedmerge` and its version.'
    """
    schema = adapter().json_schema()
    definitions = schema.pop("$defs")
    return {
        "$schema": DIALECT,
        **_described(schema),
        "$defs": {name: _described(definition) for name, definition in definitions.items()},
    }


def _described(definition: dict[str, Any]) -> dict[str, Any]:
    """The same, what a docstring says of attributes moved to these."""
    summary, _, attributes = inspect.cleandoc(definition.get("description", "")).partition(
        "\n\nAttributes:\n"
    )
    said = {name: " ".join(text.split()) for name, text in _ATTRIBUTE.findall(attributes)}
    properties = {
        name: {**content, "description": said[name]} if name in said else content
        for name, content in definition.get("properties", {}).items()
    }
    return {**definition, "description": " ".join(summary.split()), "properties": properties}
