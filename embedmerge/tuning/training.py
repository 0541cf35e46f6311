"""Train on pairs, from the start or from where an earlier process was stopped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from embedmerge.atomic import write_json
from embedmerge.checkpoint.text_files import read_object
from embedmerge.errors import EmbedmergeError
from embedmerge.tuning.checkpoints import latest, step_of
from embedmerge.tuning.objective import LOSS, NDCG
from embedmerge.tuning.trainer import build_trainer, load, quiet
from embedmerge.tuning.watching import is_out_of_memory, require_finite, watch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from embedmerge.tuning.checkpoints import Point
    from embedmerge.tuning.held_out import HeldOut
    from embedmerge.tuning.mining import Pair
    from embedmerge.tuning.settings import Tuning

START = "start.json"
TRAINER = "trainer"


@dataclass(frozen=True)
class Trained:
    """What training gave.

    Attributes:
        native: The best weights as sentence-transformers saved them.
        step: Steps after which they were taken.
        steps: Steps done in all.
        losses: Mean loss since the entry before, with `step`.
        curve: nDCG@10 and loss on the held-out queries, with `step`, from 0 on; empty where none were.
    """

    native: Path
    step: int
    steps: int
    losses: tuple[dict[str, float], ...]
    curve: tuple[dict[str, float], ...]


def train(
    base: Path,
    pairs: Sequence[Pair],
    settings: Tuning,
    folder: Path,
    *,
    held_out: HeldOut | None = None,
    checkpoints: bool = True,
    progress: Callable[[int, int], None] | None = None,
    saved: Callable[[int, Path], None] | None = None,
) -> Trained:
    """Train on pairs; goes on from the last whole checkpoint in `folder`.

    Args:
        base: Folder of the model to start from.
        pairs: (query, positive, negative, ...), all of one length.
        settings: How to train.
        folder: Where checkpoints are written.
        held_out: What to stop by; None to run all steps and take the last weights.
        checkpoints: Whether to write them.
        progress: Called after every step with the step and the number of steps.
        saved: Called with the step and the folder of every checkpoint.

    Raises:
        EmbedmergeError: Memory ran out, or the loss stopped being a number.
    """
    point = latest(folder / TRAINER)
    if point is not None and saved is not None:
        saved(point.step, point.folder)  # a process may have been killed between the two
    if point is not None and point.finished:
        return _at(point, folder, held_out)
    with quiet():
        try:
            return _run(base, pairs, settings, folder, held_out, checkpoints, watch(progress, saved))
        except (RuntimeError, MemoryError) as error:
            if is_out_of_memory(error):
                raise EmbedmergeError(out_of_memory(settings)) from error
            raise


def _run(
    base: Path,
    pairs: Sequence[Pair],
    settings: Tuning,
    folder: Path,
    held_out: HeldOut | None,
    checkpoints: bool,
    watching: Any,
) -> Trained:
    from transformers import set_seed

    model = load(base, settings)
    trainer = build_trainer(
        model, pairs, settings, folder / TRAINER, watching, held_out=held_out, checkpoints=checkpoints
    )
    if held_out is not None and not (folder / START).exists():
        write_json(folder / START, _look(0, trainer.evaluate()))
    point = latest(folder / TRAINER)
    set_seed(settings.seed)  # a look at the held-out queries has drawn from the generator, or has not
    trainer.train(resume_from_checkpoint=str(point.folder) if point else None)
    require_finite(model, trainer.state.global_step)
    last = latest(folder / TRAINER)
    if last is not None:
        return _at(last, folder, held_out)
    native, step = folder / "native", trainer.state.global_step
    model.cpu().save_pretrained(str(native), create_model_card=False)
    return Trained(native, step, step, _losses(trainer.state.log_history), ())


def _at(point: Point, folder: Path, held_out: HeldOut | None) -> Trained:
    """What training gave that ended with this checkpoint."""
    history = point.state["log_history"]
    looks = [_look(entry["step"], entry) for entry in history if NDCG in entry]
    curve = (dict(read_object(folder / START)), *looks) if held_out else ()
    return Trained(point.best, step_of(point.best), point.step, _losses(history), curve)


def _losses(history: list[dict[str, Any]]) -> tuple[dict[str, float], ...]:
    return tuple({"step": entry["step"], "loss": entry["loss"]} for entry in history if "loss" in entry)


def _look(step: int, metrics: dict[str, float]) -> dict[str, float]:
    return {"step": step, "ndcg_at_10": round(metrics[NDCG], 2), "loss": round(metrics[LOSS], 4)}


def out_of_memory(settings: Tuning) -> str:
    """What to do about it, in one line."""
    piece = min(settings.batch_size, settings.mini_batch_size)
    if piece > 1:
        what = f"try --mini-batch-size {piece // 2}, which gives the same gradients"
    else:
        what = f"try --max-seq-length {max(settings.max_seq_length // 2, 1)}, or --lora 8"
    more = "" if settings.gradient_checkpointing else ", or --gradient-checkpointing"
    return f"out of memory with {piece} texts at a time; {what}{more}"
