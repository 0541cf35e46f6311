"""The stages on what is open already: a command opens it, a run does so once for all of them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from embedmerge.merging.coefficients import Coefficients
from embedmerge.merging.streaming import Arithmetic
from embedmerge.statistics.text import texts_for

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from embedmerge.checkpoint.layout import Checkpoint
    from embedmerge.evaluation.alarms import Health
    from embedmerge.evaluation.cost import Cost
    from embedmerge.evaluation.scores import TaskScores
    from embedmerge.evaluation.store import ScoreStore
    from embedmerge.evaluation.tasks import Task
    from embedmerge.retrieval.encoder import Encoder
    from embedmerge.retrieval.precision import PrecisionChoice
    from embedmerge.retrieval.settings import EncodingSettings
    from embedmerge.sources import Source
    from embedmerge.statistics.text import Text
    from embedmerge.weighting.examples import ExampleSet
    from embedmerge.weighting.strategy import Choice, MethodChoice, Strategy

    Progress = Callable[[str, int, int], None]

SAMPLE = 500  # documents that a model's embeddings are looked at on


@dataclass(frozen=True)
class Evaluated:
    """A model's scores.

    Attributes:
        model: Folder or hub id as given.
        tasks: The tasks.
        scores: One entry per task.
        files: Where each entry is kept, with the score of every query.
        cost: What it took.
        precision: What it was encoded in, and why.
    """

    model: str
    tasks: tuple[Task, ...]
    scores: tuple[TaskScores, ...]
    files: tuple[Path, ...]
    cost: Cost
    precision: PrecisionChoice


def method_texts(method: MethodChoice, names: Sequence[str], file: Path | None) -> list[Text]:
    """The texts that a method is to read, none where it needs none.

    Args:
        method: Merging method.
        names: Names of the sources, base first.
        file: What the user gave.

    Raises:
        EmbedmergeError: The method does not fit these sources, needs text and has none, or has no use for it.
    """
    arithmetic = Arithmetic.of(method.name, method.parameters, Coefficients.uniform(names))
    return texts_for(arithmetic, file)


def choose(
    sources: Sequence[Source],
    strategy: Strategy,
    examples: ExampleSet,
    settings: EncodingSettings | None = None,
    *,
    method: MethodChoice | None = None,
    texts: Sequence[Text] = (),
    journal: Path | None = None,
    progress: Progress | None = None,
) -> Choice:
    """`weigh` for sources and examples that are already open.

    Args:
        sources: Opened, base first.
        strategy: How.
        examples: Of the target domain.
        settings: How texts are encoded.
        method: How the mixture will be merged; linear where None.
        texts: For a method that needs statistics.
        journal: File in which a search notes what it has tried; None for none.
        progress: Called with a label, texts done and texts in all.

    Raises:
        EmbedmergeError: The evidence does not allow a choice.
    """
    from embedmerge.retrieval.cache import EmbeddingCache
    from embedmerge.retrieval.settings import EncodingSettings
    from embedmerge.weighting.strategy import Evidence, MethodChoice
    from embedmerge.weighting.trial import Trials

    trials = Trials(sources, settings or EncodingSettings(), EmbeddingCache.of_user(), texts, progress)
    evidence = Evidence(
        sources, examples.examples, trials, examples.corpus, method or MethodChoice(), journal
    )
    return strategy.choose(evidence)


def score_all(
    checkpoint: Checkpoint,
    tasks: Sequence[Task],
    store: ScoreStore,
    settings: EncodingSettings | None = None,
    progress: Progress | None = None,
) -> Evaluated:
    """`evaluate` for one opened model and opened tasks."""
    from embedmerge.evaluation.adapter import Identity
    from embedmerge.evaluation.cost import measured
    from embedmerge.evaluation.scoring import score

    with measured() as meter:
        encoder = encoder_of(checkpoint, settings)
        identity = Identity.of(checkpoint, encoder)
        scores = []
        for task in tasks:
            encoder.progress = labelled(progress, f"{task.name}: {checkpoint.name}")
            scores.append(score(encoder, task, store, identity))
    files = tuple(store.path(encoder, task) for task in tasks)
    given = checkpoint.location.given
    return Evaluated(given, tuple(tasks), tuple(scores), files, meter.cost, encoder.precision)


def examine(
    merged: Checkpoint,
    parents: Sequence[Checkpoint],
    tasks: Sequence[Task],
    settings: EncodingSettings | None = None,
) -> Health | None:
    """What a merged model's embeddings look like beside its parents', without labels.

    Args:
        merged: The merged model.
        parents: Its sources.
        tasks: Documents are taken from the first with enough of them.
        settings: How texts are encoded.

    Returns:
        None where no task has enough documents.
    """
    from embedmerge.evaluation.alarms import FEWEST, health

    samples = (list(islice(task.texts.documents.values(), SAMPLE)) for task in tasks)
    sample = next((texts for texts in samples if len(texts) >= FEWEST), None)
    if sample is None:
        return None

    def embedded(checkpoint: Checkpoint) -> NDArray[np.float32]:
        encoder = encoder_of(checkpoint, settings)
        return encoder.embed(sample, encoder.model.prompt("document"))

    return health(embedded(merged), {parent.name: embedded(parent) for parent in parents}, merged.name)


def encoder_of(
    checkpoint: Checkpoint, settings: EncodingSettings | None = None, progress: Progress | None = None
) -> Encoder:
    """The encoder of an opened model, through the user's cache.

    Args:
        checkpoint: The model.
        settings: How texts are encoded.
        progress: Called with the model's name, texts done and texts in all.
    """
    from embedmerge.retrieval.cache import EmbeddingCache
    from embedmerge.retrieval.encoder import Encoder
    from embedmerge.sources import encoder_model

    model, cache = encoder_model(checkpoint), EmbeddingCache.of_user()
    return Encoder(model, settings, cache, labelled(progress, f"encoding with {checkpoint.name}"))


def data_folder() -> Path | None:
    """The folder of local collections that `EMBEDMERGE_DATA` names."""
    stated = os.environ.get("EMBEDMERGE_DATA")
    return Path(stated).expanduser() if stated else None


def labelled(progress: Progress | None, label: str) -> Callable[[int, int], None] | None:
    """Progress of one thing, under its label."""
    return (lambda done, total: progress(label, done, total)) if progress else None
