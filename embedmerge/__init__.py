"""embedmerge: tune a retriever for a domain without losing what it knew.

Everything below is imported on first use, so `import embedmerge` stays quick and torch-free.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from embedmerge.api import Inspection, Merged, evaluate, inspect, merge, weigh
    from embedmerge.errors import EmbedmergeError
    from embedmerge.recipe import Recipe, load_recipe, parse_recipe
    from embedmerge.run import run_recipe
    from embedmerge.sources import SourceSpec

__version__ = "0.1.0"

_HOME = {
    "EmbedmergeError": "errors",
    "Inspection": "api",
    "Merged": "api",
    "Recipe": "recipe",
    "SourceSpec": "sources",
    "evaluate": "api",
    "inspect": "api",
    "load_recipe": "recipe",
    "merge": "api",
    "parse_recipe": "recipe",
    "run_recipe": "run",
    "weigh": "api",
}

__all__ = [
    "EmbedmergeError",
    "Inspection",
    "Merged",
    "Recipe",
    "SourceSpec",
    "evaluate",
    "inspect",
    "load_recipe",
    "merge",
    "parse_recipe",
    "run_recipe",
    "weigh",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'embedmerge' has no attribute {name!r}")
    return getattr(import_module(f"embedmerge.{_HOME[name]}"), name)
