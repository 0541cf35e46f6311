"""The stages as Python functions; the commands of the same names call these."""

from __future__ import annotations

from embedmerge.api.examining import Inspection, evaluate, inspect, reindex_check
from embedmerge.api.making import Merged, merge, tune, weigh
from embedmerge.api.serving import export, index, push, search

__all__ = [
    "Inspection",
    "Merged",
    "evaluate",
    "export",
    "index",
    "inspect",
    "merge",
    "push",
    "reindex_check",
    "search",
    "tune",
    "weigh",
]
