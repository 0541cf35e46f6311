"""What a tuned model was made from and how: `tuning.json` beside its weights."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import embedmerge
from embedmerge.atomic import write_json
from embedmerge.checkpoint.lineage import files_sha256, model_sha256
from embedmerge.checkpoint.text_files import read_object
from embedmerge.digest import content_digest
from embedmerge.lock import library_versions

if TYPE_CHECKING:
    from embedmerge.checkpoint.layout import Checkpoint
    from embedmerge.tuning.rows import TrainingData
    from embedmerge.tuning.settings import Preparation, Tuning
    from embedmerge.tuning.training import Trained

NAME = "tuning.json"


@dataclass(frozen=True)
class Record:
    """What a tuned model was made from and how; the same run writes the same record.

    Attributes:
        base: Name and sha256 of the base.
        data: Name and sha256 of the training data, and what was left out of it.
        settings: All of `Tuning`.
        preparation: All of `Preparation`.
        versions: Of embedmerge and the libraries.
        counts: Queries, pairs, held-out queries, leaked queries and where negatives come from.
        run: Digest over all of the above as it was before the run: what two runs with the same result share.
        step: Steps after which the weights were taken.
        steps: Steps done in all.
        losses: Mean loss since the entry before, with `step`.
        held_out: nDCG@10 and loss on the held-out queries, with `step`, from 0, the base, on.
        sha256: Digest of every weight file of the result, by its place.
    """

    base: dict[str, str]
    data: dict[str, Any]
    settings: dict[str, Any]
    preparation: dict[str, Any]
    versions: dict[str, str]
    counts: dict[str, Any] = field(default_factory=dict)
    run: str = ""
    step: int = 0
    steps: int = 0
    losses: tuple[dict[str, float], ...] = ()
    held_out: tuple[dict[str, float], ...] = ()
    sha256: dict[str, str] = field(default_factory=dict)

    @property
    def facts(self) -> dict[str, Any]:
        """As it is written."""
        return asdict(self)

    @property
    def gained(self) -> float | None:
        """Points of nDCG@10 on the held-out queries above the base; None where none were held out."""
        if not self.held_out:
            return None
        by_step = {look["step"]: look["ndcg_at_10"] for look in self.held_out}
        return by_step[self.step] - by_step[0]

    def write(self, folder: Path) -> None:
        """Write it beside the weights."""
        write_json(folder / NAME, self.facts)


def planned(
    base: Checkpoint,
    data: TrainingData,
    tuning: Tuning,
    preparation: Preparation,
    counts: dict[str, Any],
) -> Record:
    """The record of a run that has not begun.

    Args:
        base: The base.
        data: What is tuned on.
        tuning: How weights are trained.
        preparation: How rows are made.
        counts: What is known of them.
    """
    record = Record(
        {"name": Path(base.location.given).name, "sha256": model_sha256(base)},
        {"name": data.name, "sha256": data.sha256, "notes": list(data.notes)},
        _plain(asdict(tuning) | {"learning_rate": tuning.rate, "lora_alpha": tuning.alpha or None}),
        _plain(asdict(preparation)),
        {"embedmerge": embedmerge.__version__, **library_versions(), **_trainers()},
        counts,
    )
    return replace(record, run=content_digest(record.facts))


def _trainers() -> dict[str, str]:
    return {name: version(name) for name in ("accelerate", "datasets", "peft")}


def finished(record: Record, trained: Trained, negatives: dict[str, int], pairs: int, folder: Path) -> Record:
    """The record of a run that is over.

    Args:
        record: As it was planned.
        trained: What training gave.
        negatives: Where the negatives come from.
        pairs: Pairs that were trained on.
        folder: The assembled model.
    """
    weights = sorted(path for path in folder.rglob("*.safetensors"))
    return replace(
        record,
        counts={**record.counts, "pairs": pairs, "negatives": negatives},
        step=trained.step,
        steps=trained.steps,
        losses=trained.losses,
        held_out=trained.curve,
        sha256=files_sha256(folder, weights),
    )


def read_record(folder: Path) -> Record | None:
    """The record of a tuned model; None where the folder has none."""
    if not (folder / NAME).is_file():
        return None
    content = read_object(folder / NAME)
    tuples = {name: tuple(content[name]) for name in ("losses", "held_out")}
    return Record(**{**content, **tuples})


def _plain(settings: dict[str, Any]) -> dict[str, Any]:
    """As JSON reads it back."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in settings.items()}
