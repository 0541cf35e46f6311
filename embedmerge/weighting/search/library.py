"""Optimisers that come with the extra `search`."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

from embedmerge.errors import EmbedmergeError


def require_installed(name: str) -> None:
    """Refuse a search whose optimiser is not there, without importing it.

    Raises:
        EmbedmergeError: It is not installed.
    """
    if find_spec(name) is None:
        raise EmbedmergeError(f"search: the library {name} is not installed; pip install embedmerge[search]")


def optimiser(name: str) -> Any:
    """An optimiser's module.

    Raises:
        EmbedmergeError: It is not installed.
    """
    require_installed(name)
    return import_module(name)
