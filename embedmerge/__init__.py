"""embedmerge: tune a retriever for a domain without losing what it knew.

Everything below is imported on first use, so `import embedmerge` stays quick and torch-free.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from embedmerge.api import (
        Inspection,
        Merged,
        evaluate,
        export,
        index,
        inspect,
        merge,
        push,
        reindex_check,
        search,
        tune,
        weigh,
    )
    from embedmerge.errors import EmbedmergeError
    from embedmerge.recipe import Recipe, load_recipe, parse_recipe
    from embedmerge.run import run_recipe
    from embedmerge.sources import SourceSpec
    from embedmerge.tuning import Preparation, Tuning
    from embedmerge.tuning.resilient import Checks
    from embedmerge.tuning.tuned import Tuned

__version__ = "0.1.0"

_HOME = {
    "Checks": "tuning.resilient",
    "EmbedmergeError": "errors",
    "Inspection": "api",
    "Merged": "api",
    "Preparation": "tuning",
    "Recipe": "recipe",
    "SourceSpec": "sources",
    "Tuned": "tuning.tuned",
    "Tuning": "tuning",
    "evaluate": "api",
    "export": "api",
    "index": "api",
    "inspect": "api",
    "load_recipe": "recipe",
    "merge": "api",
    "parse_recipe": "recipe",
    "push": "api",
    "reindex_check": "api",
    "run_recipe": "run",
    "search": "api",
    "tune": "api",
    "weigh": "api",
}

__all__ = [
    "Checks",
    "EmbedmergeError",
    "Inspection",
    "Merged",
    "Preparation",
    "Recipe",
    "SourceSpec",
    "Tuned",
    "Tuning",
    "evaluate",
    "export",
    "index",
    "inspect",
    "load_recipe",
    "merge",
    "parse_recipe",
    "push",
    "reindex_check",
    "run_recipe",
    "search",
    "tune",
    "weigh",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'embedmerge' has no attribute {name!r}")
    return getattr(import_module(f"embedmerge.{_HOME[name]}"), name)
