"""What goes on while the trainer works: steps counted, broken losses stopped, checkpoints passed on."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedmerge.errors import EmbedmergeError

if TYPE_CHECKING:
    from collections.abc import Callable

PREFIX = "checkpoint-"
_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "cannot allocate memory", "bad_alloc")


class Silent:
    """A watcher that tells nobody."""

    def stage(self, name: str) -> None:
        """Nothing."""

    def progress(self, label: str, done: int, total: int) -> None:
        """Nothing."""


class DivergedError(EmbedmergeError):
    """The loss or a weight is no finite number.

    Args:
        step: The step that broke it.
        note: What is left of the run.
    """

    def __init__(self, step: int, note: str = "") -> None:
        self.step = step
        super().__init__(
            f"step {step}: the loss is not a finite number; use a lower learning rate "
            f"(or check the base for NaN){note}"
        )


def watch(
    progress: Callable[[int, int], None] | None, saved: Callable[[int, Path], None] | None = None
) -> Any:
    """A trainer callback that reports steps and checkpoints and stops at the first loss that is no number.

    Args:
        progress: Called after every step with the step and the number of steps.
        saved: Called with the step and the folder of every checkpoint.
    """
    from transformers import TrainerCallback

    class Watch(TrainerCallback):  # type: ignore[misc]
        step = 0

        def check(self, module: Any, _inputs: Any, loss: Any) -> None:
            values = loss.values() if isinstance(loss, dict) else [loss]
            if module.training and not all(math.isfinite(value.item()) for value in values):
                raise DivergedError(self.step + 1)

        def on_train_begin(self, _args: Any, state: Any, _control: Any, **_others: Any) -> None:
            self.step = state.global_step

        def on_step_end(self, args: Any, state: Any, control: Any, **_others: Any) -> None:
            self.step = state.global_step
            if state.global_step == state.max_steps and args.save_strategy != "no":
                control.should_save = True
                control.should_evaluate = args.eval_strategy != "no"
            if progress is not None:
                progress(state.global_step, state.max_steps)

        def on_save(self, args: Any, state: Any, _control: Any, **_others: Any) -> None:
            if saved is not None:
                saved(state.global_step, Path(args.output_dir) / f"{PREFIX}{state.global_step}")

    return Watch()


def require_finite(model: Any, step: int) -> None:
    """The last update comes after the last loss, so the weights have to be looked at themselves.

    Raises:
        DivergedError: A weight is no finite number.
    """
    for parameter in model.parameters():
        if not bool(parameter.isfinite().all()):
            raise DivergedError(step)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that there was no memory left, on whatever device."""
    return isinstance(error, MemoryError) or any(sign in str(error).lower() for sign in _OUT_OF_MEMORY)
