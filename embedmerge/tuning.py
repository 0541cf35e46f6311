"""Fine-tune an encoder on (query, positive[, negatives]) pairs with the sentence-transformers trainer.

The result is the base folder with other weights: every other file is the base's own, byte for byte, and the
weights file has the base's tensor names. So the expert differs from its base in what training changed and in
nothing else, loads wherever the base loads, and can be merged with it without a translation of names.
"""

from __future__ import annotations

import json
import math
import shutil
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from embedmerge.atomic import new_folder, refuse_occupied
from embedmerge.errors import EmbedmergeError
from embedmerge.retrieval.precision import native_bf16

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_WEIGHTS = "model.safetensors"
# Everything that holds weights, in whatever format: a copy of the base's would contradict the tuned ones.
_STALE = (
    "*.safetensors",
    "*.safetensors.index.json",
    "pytorch_model*",
    "*.h5",
    "*.msgpack",
    "*.ot",
    "*.onnx",
)
_STALE_FOLDERS = ("onnx", "openvino", ".git", ".cache")
# Larger batches go through the network piece by piece: same gradients, bounded memory.
_LARGEST_PLAIN_BATCH = 64
_DOCUMENT_PROMPTS = ("document", "passage", "corpus")


@dataclass(frozen=True)
class Tuning:
    """Settings of a fine-tuning run.

    Attributes:
        steps: Optimiser steps.
        batch_size: Pairs per step; the other pairs of a batch are each query's negatives.
        learning_rate: Peak of the linear schedule.
        warmup_ratio: Share of the steps during which the rate rises.
        max_seq_length: Tokens per text while tuning; the written model keeps the base's own limit.
        temperature: Similarities are divided by it in the loss.
        seed: Seed of the batch order and of dropout.
        precision: "fp32", "bf16" (autocast) or "auto": bf16 where the processor has it natively.
    """

    steps: int = 200
    batch_size: int = 32
    learning_rate: float = 5e-5
    warmup_ratio: float = 0.1
    max_seq_length: int = 128
    temperature: float = 0.05
    seed: int = 0
    precision: Literal["auto", "fp32", "bf16"] = "auto"


def tune(
    base: Path,
    pairs: Sequence[tuple[str, ...]],
    output: Path,
    settings: Tuning,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Fine-tune a sentence-transformers folder with in-batch negatives.

    Args:
        base: Folder of the model to start from.
        pairs: (query, positive) or (query, positive, negative, ...) rows, all of the same length.
        output: Folder to write; absent or empty.
        settings: How to train.
        progress: Called after every step with the step and the number of steps.

    Returns:
        The output folder: the base's files with the tuned weights in float32.

    Raises:
        EmbedmergeError: The base is no sentence-transformers folder, pairs or settings make no sense, the
            output is occupied, or the loss stopped being a number.
    """
    _check(base, pairs, settings)
    refuse_occupied(output)
    with _quiet(), tempfile.TemporaryDirectory(prefix="embedmerge-tune-") as scratch:
        model = _trained(base, pairs, settings, Path(scratch), progress)
        native = Path(scratch) / "native"
        model.save_pretrained(str(native), create_model_card=False)
        with new_folder(output) as target:
            _assemble(base, native, target)
    return output


def _check(base: Path, pairs: Sequence[tuple[str, ...]], settings: Tuning) -> None:
    if not (base / "modules.json").is_file():
        msg = f"{base}: no modules.json here; give the folder of a sentence-transformers model"
        raise EmbedmergeError(msg)
    lengths = {len(row) for row in pairs}
    if len(pairs) < 2 or len(lengths) != 1 or min(lengths) < 2:
        msg = (
            f"pairs: {len(pairs)} rows with {sorted(lengths)} texts found; give at least two rows, each "
            "(query, positive) with the same number of negatives"
        )
        raise EmbedmergeError(msg)
    for name in ("steps", "batch_size", "learning_rate", "max_seq_length", "temperature"):
        if not getattr(settings, name) > 0:
            msg = f"{name}: {getattr(settings, name)} found; must be above 0"
            raise EmbedmergeError(msg)
    if not 0 <= settings.warmup_ratio <= 1:
        msg = f"warmup_ratio: {settings.warmup_ratio} found; must be between 0 and 1"
        raise EmbedmergeError(msg)
    if settings.precision not in ("auto", "fp32", "bf16"):
        msg = f"precision: {settings.precision!r} found; must be auto, fp32 or bf16"
        raise EmbedmergeError(msg)


@contextmanager
def _quiet() -> Iterator[None]:
    """No bars and no load reports: `progress` is what the caller shows."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def _trained(
    base: Path, pairs: Sequence[tuple[str, ...]], settings: Tuning, scratch: Path, progress: Any
) -> Any:
    from datasets import Dataset
    from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer
    from transformers import PrinterCallback, set_seed

    set_seed(settings.seed)
    # float32 whatever the base was stored in: rounding every update to 16 bits would lose the small ones.
    model = SentenceTransformer(str(base), local_files_only=True).float()
    # No card is written; without this, its widget examples are drawn behind a progress bar of their own.
    model.model_card_data.widget = [{}]
    model.max_seq_length = min(settings.max_seq_length, model.max_seq_length or settings.max_seq_length)
    columns = ["anchor", "positive", *(f"negative_{i}" for i in range(1, len(pairs[0]) - 1))]
    rows = Dataset.from_dict({name: [row[i] for row in pairs] for i, name in enumerate(columns)})
    watch = _watch(progress)
    loss = _loss(model, settings)
    loss.register_forward_hook(watch.check)
    trainer = SentenceTransformerTrainer(
        model=model,
        args=_arguments(settings, _prompts(model.prompts, columns), scratch, model.device.type),
        train_dataset=rows,
        loss=loss,
        callbacks=[watch],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    _require_finite(model, settings.steps)
    return model.cpu()


def _arguments(settings: Tuning, prompts: dict[str, str] | None, scratch: Path, device: str) -> Any:
    from sentence_transformers import SentenceTransformerTrainingArguments
    from sentence_transformers.training_args import BatchSamplers

    bf16 = settings.precision == "bf16" or (settings.precision == "auto" and native_bf16(device))
    return SentenceTransformerTrainingArguments(
        output_dir=str(scratch / "trainer"),
        max_steps=settings.steps,
        per_device_train_batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        warmup_steps=round(settings.steps * settings.warmup_ratio),
        lr_scheduler_type="linear",
        bf16=bf16,
        use_cpu=device == "cpu",
        seed=settings.seed,
        data_seed=settings.seed,
        batch_sampler=BatchSamplers.NO_DUPLICATES,
        prompts=prompts,
        save_strategy="no",
        eval_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=device != "cpu",
    )


def _loss(model: Any, settings: Tuning) -> Any:
    from sentence_transformers.losses import CachedMultipleNegativesRankingLoss, MultipleNegativesRankingLoss

    scale = 1 / settings.temperature
    if settings.batch_size <= _LARGEST_PLAIN_BATCH:
        return MultipleNegativesRankingLoss(model, scale=scale)
    return CachedMultipleNegativesRankingLoss(model, scale=scale, mini_batch_size=_LARGEST_PLAIN_BATCH // 2)


def _prompts(prompts: dict[str, str], columns: list[str]) -> dict[str, str] | None:
    """The model's own prompts by column, as encode_query and encode_document would choose them."""
    document = next((prompts[name] for name in _DOCUMENT_PROMPTS if prompts.get(name)), "")
    chosen = {name: prompts.get("query", "") if name == "anchor" else document for name in columns}
    return {name: prompt for name, prompt in chosen.items() if prompt} or None


def _watch(progress: Callable[[int, int], None] | None) -> Any:
    """A trainer callback that reports steps and stops at the first loss that is no number."""
    from transformers import TrainerCallback

    class Watch(TrainerCallback):  # type: ignore[misc]
        step = 0

        def check(self, _module: Any, _inputs: Any, loss: Any) -> None:
            values = loss.values() if isinstance(loss, dict) else [loss]
            if not all(math.isfinite(value.item()) for value in values):
                raise _diverged(self.step + 1)

        def on_step_end(self, _args: Any, state: Any, _control: Any, **_others: Any) -> None:
            self.step = state.global_step
            if progress is not None:
                progress(state.global_step, state.max_steps)

    return Watch()


def _diverged(step: int) -> EmbedmergeError:
    return EmbedmergeError(
        f"step {step}: the loss is not a finite number; use a lower learning rate (or check the base for NaN)"
    )


def _require_finite(model: Any, steps: int) -> None:
    """The last update comes after the last loss, so the weights have to be looked at themselves."""
    for parameter in model.parameters():
        if not bool(parameter.isfinite().all()):
            raise _diverged(steps)


def _assemble(base: Path, native: Path, target: Path) -> None:
    """Write the base's files with the natively saved weights under the base's names."""
    stale = shutil.ignore_patterns(*_STALE, *_STALE_FOLDERS)
    shutil.copytree(base, target, dirs_exist_ok=True, ignore=stale)
    for there, here in zip(_module_folders(base), _module_folders(native), strict=True):
        saved = _read(native / here)
        if saved:
            _save(_renamed(_read(base / there), saved, base / there), target / there / _WEIGHTS)


def _module_folders(folder: Path) -> list[str]:
    modules = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
    return [module["path"] for module in sorted(modules, key=lambda module: int(module["idx"]))]


def _read(folder: Path) -> dict[str, Any]:
    """Every tensor of one module folder: safetensors, or else PyTorch's own format without pickled code."""
    from safetensors.torch import load_file

    tensors: dict[str, Any] = {}
    for file in sorted(folder.glob("*.safetensors")):
        tensors |= load_file(file)
    if not tensors:
        import torch

        for file in sorted(folder.glob("pytorch_model*.bin")):
            tensors |= torch.load(file, map_location="cpu", weights_only=True)
    return tensors


def _renamed(original: dict[str, Any], saved: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Saved tensors under the names of the original; what the library no longer saves is the original's."""
    result, left = {}, dict(saved)
    for name, tensor in original.items():
        match = next((other for other in _spellings(name) if other in left), None)
        value = tensor if match is None else left.pop(match)
        result[name] = value.float() if value.is_floating_point() else value
    lost = sorted(name for name in left if "pooler" not in name)
    if lost:
        msg = f"{folder}: the trained tensor {lost[0]} has no counterpart there; save the base again"
        raise EmbedmergeError(msg)
    return result


def _spellings(name: str) -> list[str]:
    """How the library may call the tensor today: without a head's prefix, or with newer LayerNorm names."""
    modern = name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")
    return [name, name.partition(".")[2], modern, modern.partition(".")[2]]


def _save(tensors: dict[str, Any], path: Path) -> None:
    from safetensors.torch import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    # Tied tensors share memory, which the format refuses.
    save_file({name: tensor.clone().contiguous() for name, tensor in tensors.items()}, path, {"format": "pt"})
    path.chmod(0o644)
