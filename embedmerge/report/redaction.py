"""What a published card must not say: where files lie on somebody's machine."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from embedmerge.report.document import Report, SourceRecord

HIDDEN = "<local path>"

# A hub id has no such ending; of a file in a folder the name is enough.
_RELATIVE_FILE = re.compile(r"[^:]+/[^/:]+\.(?:jsonl?|txt|tsv|csv|ya?ml|gz)")

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
# A path that starts at a root, a home, a drive, a share, or here; no URL, no fraction, no `and/or`.
_PATH = re.compile(
    r"""(?<![\w./\\<])(?:file:/+|[A-Za-z]:[\\/](?!/)|\\\\|~?/(?!/)|\.{1,2}[\\/])[^\s"'`,;)\]}]+"""
)


def hub_id(source: SourceRecord) -> str | None:
    """Return the source's hub id; None for a folder.

    Args:
        source: The source.
    """
    if source.revision is not None and _HUB_ID.fullmatch(source.location):
        return source.location
    return None


def _folders(report: Report) -> list[str]:
    """Return the sources' folders, the long ones first; a bare name is no path."""
    places = {source.location for source in report.sources if hub_id(source) is None}
    return sorted((place for place in places if re.search(r"[\\/]", place)), key=len, reverse=True)


def local_path(text: str) -> str | None:
    """Return the first thing in a text that looks like a path of somebody's machine.

    >>> local_path("tuned from ~/models/base"), local_path("see https://hf.co/a/b and/or 1/2")
    ('~/models/base', None)
    """
    found = _PATH.search(text)
    return found.group(0) if found else None


def hide_paths(text: str, report: Report) -> str:
    """Return `text` with every local path replaced.

    Args:
        text: A sentence or a file's content.
        report: Names the folders of the sources.
    """
    for folder in _folders(report):
        text = text.replace(folder, HIDDEN)
    return _PATH.sub(HIDDEN, text)


def _hidden(value: Any, folders: list[str]) -> Any:
    if isinstance(value, dict):
        return {key: _hidden(item, folders) for key, item in value.items()}
    if isinstance(value, list):
        return [_hidden(item, folders) for item in value]
    # A whole scalar may hold spaces, which a pattern over the text would stop at.
    if isinstance(value, str) and (value in folders or _PATH.match(value)):
        return HIDDEN
    if isinstance(value, str) and _RELATIVE_FILE.fullmatch(value):
        return value.rsplit("/", 1)[-1]
    return value


def hide_paths_in_yaml(text: str, report: Report) -> str:
    """Return a recipe with every local path replaced; a recipe without one comes back as it was.

    Args:
        text: The recipe.
        report: Names the folders of the sources.
    """
    loaded = yaml.safe_load(text)
    hidden = _hidden(loaded, _folders(report))
    if hidden != loaded:
        text = yaml.safe_dump(hidden, sort_keys=False, allow_unicode=True)
    return hide_paths(text, report)
