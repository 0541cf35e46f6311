"""Fine-tune on pairs in memory, all of them, for a given number of steps."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from embedmerge.atomic import new_folder, refuse_occupied
from embedmerge.checkpoint.hub import Location
from embedmerge.checkpoint.layout import open_checkpoint
from embedmerge.errors import EmbedmergeError
from embedmerge.tuning.assembling import assemble
from embedmerge.tuning.training import train

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from embedmerge.checkpoint.layout import Checkpoint
    from embedmerge.tuning.settings import Tuning


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
        settings: How to train; nothing is held out, so all steps are run.
        progress: Called after every step with the step and the number of steps.

    Returns:
        The output folder: the base's files with the tuned weights in float32.

    Raises:
        EmbedmergeError: The base is no sentence-transformers folder, pairs or settings make no sense, the
            output is occupied, memory ran out, or the loss stopped being a number.
    """
    require_tunable(base, settings)
    _require_rows(pairs)
    refuse_occupied(output)
    with tempfile.TemporaryDirectory(prefix="embedmerge-tune-") as scratch:
        trained = train(base, pairs, settings, Path(scratch), checkpoints=False, progress=progress)
        with new_folder(output) as target:
            assemble(base, trained.native, target)
    return output


def require_tunable(base: Path, settings: Tuning) -> Checkpoint:
    """The opened base, if it can be tuned with these settings.

    Raises:
        EmbedmergeError: It is no sentence-transformers folder, or the settings make no sense.
    """
    if not (base / "modules.json").is_file():
        msg = f"{base}: no modules.json here; give the folder of a sentence-transformers model"
        raise EmbedmergeError(msg)
    settings.require_valid()
    checkpoint = open_checkpoint(Location(str(base), base, None))
    longest = _dimension(checkpoint)
    beyond = [length for length in settings.matryoshka if longest and length > longest]
    if beyond:
        msg = f"matryoshka: {beyond[0]} found; {base.name} has {longest} dimensions, lengths are at most that"
        raise EmbedmergeError(msg)
    return checkpoint


def _dimension(checkpoint: Checkpoint) -> int | None:
    """Numbers in an embedding: what the last dense layer gives, else the hidden size."""
    dense = [module.config.get("out_features") for module in checkpoint.modules if module.kind == "Dense"]
    return dense[-1] if dense else checkpoint.width


def _require_rows(pairs: Sequence[tuple[str, ...]]) -> None:
    lengths = {len(row) for row in pairs}
    if len(pairs) < 2 or len(lengths) != 1 or min(lengths) < 2:
        msg = (
            f"pairs: {len(pairs)} rows with {sorted(lengths)} texts found; give at least two rows, each "
            "(query, positive) with the same number of negatives"
        )
        raise EmbedmergeError(msg)
