"""Checkpoints of an unfinished run: which are whole, and what they say."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from embedmerge.tuning.watching import PREFIX

if TYPE_CHECKING:
    from pathlib import Path

STATE = "trainer_state.json"


@dataclass(frozen=True)
class Point:
    """A whole checkpoint of the trainer.

    Attributes:
        step: Steps done.
        folder: Where it is.
        state: The trainer's state.
    """

    step: int
    folder: Path
    state: dict[str, Any]

    @property
    def finished(self) -> bool:
        """Whether the run ended with it."""
        control = self.state.get("stateful_callbacks", {}).get("TrainerControl", {}).get("args", {})
        return bool(self.step >= self.state["max_steps"] or control.get("should_training_stop"))

    @property
    def best(self) -> Path:
        """The checkpoint that did best on the held-out queries; this one where none was looked at."""
        named = self.state.get("best_model_checkpoint")
        return self.folder.parent / named.rstrip("/").rsplit("/", 1)[-1] if named else self.folder


def latest(folder: Path) -> Point | None:
    """The last whole checkpoint; what a killed process left half-written is removed.

    Args:
        folder: The trainer's output folder; need not exist.
    """
    for path in sorted(folder.glob(f"{PREFIX}*"), key=lambda path: -step_of(path)):
        state = _state(path)
        if state is not None:
            return Point(step_of(path), path, state)
        shutil.rmtree(path)
    return None


def step_of(checkpoint: Path) -> int:
    """The step in a checkpoint's name."""
    return int(checkpoint.name.removeprefix(PREFIX))


def _state(checkpoint: Path) -> dict[str, Any] | None:
    """What the trainer writes last into a checkpoint; None where it never got there."""
    try:
        state: dict[str, Any] = json.loads((checkpoint / STATE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return state
