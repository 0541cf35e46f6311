"""The embedded example: two experts tuned on documentation that is on every machine, merged and checked."""

from __future__ import annotations

from embedmerge.demo.assets import DemoAssets, prepare
from embedmerge.demo.job import run_demo, search_lines

__all__ = ["DemoAssets", "prepare", "run_demo", "search_lines"]
