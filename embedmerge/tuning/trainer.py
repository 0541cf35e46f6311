"""The sentence-transformers trainer, set up for one run."""

from __future__ import annotations

import logging
import math
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from embedmerge.retrieval.precision import native_bf16
from embedmerge.tuning.objective import LOSS, NDCG, column_prompts, ndcg_evaluator, ranking_loss
from embedmerge.tuning.watching import require_finite

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from embedmerge.tuning.held_out import HeldOut
    from embedmerge.tuning.mining import Pair
    from embedmerge.tuning.settings import Tuning

_LOGS_PER_LOOK = 5


@contextmanager
def quiet() -> Iterator[None]:
    """No bars, no load reports, no advice: `progress` is what the caller shows."""
    from transformers.utils import logging as notices

    level, bars = notices.get_verbosity(), notices.is_progress_bar_enabled()
    trainers = logging.getLogger("sentence_transformers")
    before = trainers.level
    notices.set_verbosity_error()
    notices.disable_progress_bar()
    trainers.setLevel(logging.ERROR)
    try:
        yield
    finally:
        trainers.setLevel(before)
        notices.set_verbosity(level)
        if bars:
            notices.enable_progress_bar()


def load(base: Path, settings: Tuning) -> Any:
    """The model to train, in float32 whatever it was stored in, with an adapter where one is asked for."""
    from sentence_transformers import SentenceTransformer
    from transformers import set_seed

    set_seed(settings.seed)
    # Rounding every update to 16 bits would lose the small ones.
    model = SentenceTransformer(str(base), local_files_only=True).float()
    # No card is written; without this, its widget examples are drawn behind a progress bar of their own.
    model.model_card_data.widget = [{}]
    model.max_seq_length = min(settings.max_seq_length, model.max_seq_length or settings.max_seq_length)
    if settings.lora:
        from peft import LoraConfig, TaskType

        model.add_adapter(
            LoraConfig(
                task_type=TaskType.FEATURE_EXTRACTION,
                r=settings.lora,
                lora_alpha=settings.alpha,  # type: ignore[arg-type]
                lora_dropout=settings.lora_dropout,
                target_modules="all-linear",
            )
        )
    if settings.gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    return model


def build_trainer(
    model: Any,
    pairs: Sequence[Pair],
    settings: Tuning,
    folder: Path,
    watch: Any,
    *,
    held_out: HeldOut | None = None,
    checkpoints: bool = False,
) -> Any:
    """A trainer of the cached multiple-negatives ranking loss.

    Args:
        model: From `load`.
        pairs: (query, positive, negative, ...), all of one length.
        settings: How to train.
        folder: The trainer's own; gets the checkpoints.
        watch: From `watching.watch`.
        held_out: What to stop by; None to run all steps.
        checkpoints: Whether to write checkpoints, as often as `held_out` is looked at.
    """
    from sentence_transformers import SentenceTransformerTrainer
    from transformers import EarlyStoppingCallback, PrinterCallback

    class Trainer(SentenceTransformerTrainer):  # type: ignore[misc]
        def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
            require_finite(self.model, self.state.global_step)
            self.model.save_pretrained(output_dir or self.args.output_dir, create_model_card=False)

    loss = ranking_loss(model, settings)
    loss.register_forward_hook(watch.check)
    arguments = _arguments(
        model, pairs, settings, folder, looks=held_out is not None, checkpoints=checkpoints
    )
    trainer = Trainer(
        model=model,
        args=arguments,
        train_dataset=_dataset(pairs),
        eval_dataset=_dataset([(row.query, row.pos[0]) for row in held_out.rows]) if held_out else None,
        evaluator=ndcg_evaluator(held_out, arguments.bf16, model.device.type) if held_out else None,
        loss=loss,
        callbacks=[watch, *([EarlyStoppingCallback(settings.patience)] if held_out else [])],
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def looks_every(steps: int, evaluations: int) -> tuple[int, int]:
    """Steps between looks at the held-out queries, and between losses noted, the latter a part of the former.

    >>> looks_every(200, 6), looks_every(6, 6)
    ((33, 11), (1, 1))
    """
    every = max(1, steps // evaluations)
    noted = max(1, math.ceil(every / _LOGS_PER_LOOK))
    while every % noted:
        noted += 1
    return every, noted


def _dataset(pairs: Sequence[Pair]) -> Any:
    from datasets import Dataset

    columns = _columns(pairs)
    return Dataset.from_dict({name: [row[place] for row in pairs] for place, name in enumerate(columns)})


def _columns(pairs: Sequence[Pair]) -> list[str]:
    return ["anchor", "positive", *(f"negative_{number}" for number in range(1, len(pairs[0]) - 1))]


def _arguments(
    model: Any, pairs: Sequence[Pair], settings: Tuning, folder: Path, *, looks: bool, checkpoints: bool
) -> Any:
    from sentence_transformers import SentenceTransformerTrainingArguments
    from sentence_transformers.training_args import BatchSamplers

    device = model.device.type
    steps = settings.planned_steps(len(pairs))
    every, noted = looks_every(steps, settings.evaluations)
    return SentenceTransformerTrainingArguments(
        output_dir=str(folder),
        max_steps=steps,
        per_device_train_batch_size=settings.batch_size,
        per_device_eval_batch_size=settings.batch_size,
        learning_rate=settings.rate,
        warmup_steps=round(steps * settings.warmup_ratio),
        lr_scheduler_type="linear",
        bf16=settings.precision == "bf16" or (settings.precision == "auto" and native_bf16(device)),
        use_cpu=device == "cpu",
        seed=settings.seed,
        data_seed=settings.seed,
        batch_sampler=BatchSamplers.NO_DUPLICATES,
        prompts=column_prompts(model.prompts, _columns(pairs)),
        save_strategy="steps" if checkpoints else "no",
        save_steps=every,
        save_total_limit=2,  # the best and the last
        restore_callback_states_from_checkpoint=True,
        eval_strategy="steps" if looks else "no",
        eval_steps=every,
        metric_for_best_model=(NDCG if settings.stop_by == "ndcg_at_10" else LOSS) if looks else None,
        greater_is_better=settings.stop_by == "ndcg_at_10" if looks else None,
        logging_strategy="steps",
        logging_steps=noted,
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=device != "cpu",
    )
