"""Paths in a recipe: taken from where its file lies, so that they hold from anywhere."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from embedmerge.evaluation.suites import bundled_suites

if TYPE_CHECKING:
    from pathlib import Path


def locate_paths(content: dict[str, Any], folder: Path) -> None:
    """Turn paths that exist beside the recipe into paths that hold from anywhere."""
    for source in (content["base"], *content["experts"]):
        source["path"] = near(source["path"], folder)
    _locate_evidence(content["weighting"], folder)
    if content["method"]["text"]:
        content["method"]["text"] = str(folder / expanded(content["method"]["text"]))
    evaluation = content["evaluation"]
    locate_tasks(evaluation, folder)
    if evaluation["suite"] and evaluation["suite"] not in bundled_suites():
        evaluation["suite"] = str(folder / expanded(evaluation["suite"]))


def locate_tasks(sides: dict[str, Any], folder: Path) -> None:
    """The same for the tasks of both sides."""
    for side in ("target", "general"):
        sides[side] = [
            near(task, folder) if isinstance(task, str) else {**task, "task": near(task["task"], folder)}
            for task in sides[side]
        ]


def _locate_evidence(weighting: dict[str, Any], folder: Path) -> None:
    if weighting.get("examples"):
        place = near(weighting["examples"], folder)
        weighting["examples"] = place if ":" in place else str(folder / place)
    for place, file in (weighting.get("texts") or {}).items():
        weighting["texts"][place] = str(folder / expanded(file))
    if weighting.get("journal"):
        weighting["journal"] = str(folder / expanded(weighting["journal"]))
    guard = weighting.get("guard") or {}
    if guard.get("text"):
        guard["text"] = str(folder / expanded(guard["text"]))
    if guard.get("tasks"):
        guard["tasks"] = [near(task, folder) for task in guard["tasks"]]


def near(given: str, folder: Path) -> str:
    """A path beside the recipe where there is one, else the name as it is: a hub id, a task."""
    named = expanded(given)
    path, _, split = named.rpartition(":")
    if (folder / named).exists():
        return str(folder / named)
    if path and (folder / path).exists():
        return f"{folder / path}:{split}"
    return named


def expanded(given: str) -> str:
    """`~` and environment variables filled in."""
    return os.path.expandvars(os.path.expanduser(given))  # noqa: PTH111 - may be a hub id, not a path
