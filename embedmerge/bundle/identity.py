"""Which model a bundle is of, where it lies, and whether a model is the same."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from embedmerge.bundle.manifest import ModelFacts
from embedmerge.checkpoint.hub import locate
from embedmerge.checkpoint.layout import open_checkpoint
from embedmerge.checkpoint.lineage import weights_sha256
from embedmerge.errors import EmbedmergeError
from embedmerge.sources import encoder_model

if TYPE_CHECKING:
    from pathlib import Path

    from embedmerge.checkpoint.layout import Checkpoint
    from embedmerge.retrieval.settings import EncoderModel

DIGITS = 12


def model_facts(checkpoint: Checkpoint, model: EncoderModel, bundle: Path) -> ModelFacts:
    """What a bundle says of its model.

    A folder is named by the way from the bundle to it, so that both can be moved together and the
    manifest says nothing of the machine.
    """
    location = checkpoint.location
    where = os.path.relpath(location.folder.resolve(), bundle.resolve())
    return ModelFacts(
        name=checkpoint.name,
        location=f"{location.given}@{location.revision}" if location.revision else where,
        sha256=model.sha256,
        weights_sha256=weights_sha256(checkpoint),
        pooling=checkpoint.pooling or "",
        normalised=model.normalises,
    )


def model_of(bundle: Path, facts: ModelFacts, given: str | None) -> tuple[Checkpoint, EncoderModel]:
    """The model that a bundle is searched with.

    Args:
        bundle: Its folder.
        facts: Of the model that it was made with.
        given: Where that lies now; None for where it lay.

    Raises:
        EmbedmergeError: It is not there, or another.
    """
    if given is None:
        given = _recorded(bundle, facts)
    checkpoint = open_checkpoint(locate(given))
    return checkpoint, require_same(checkpoint, facts)


def require_same(checkpoint: Checkpoint, facts: ModelFacts) -> EncoderModel:
    """The model for encoding, where it is the one of the bundle.

    Raises:
        EmbedmergeError: It is another, or has other module files.
    """
    model = encoder_model(checkpoint)
    if model.sha256 == facts.sha256:
        return model
    if weights_sha256(checkpoint) == facts.weights_sha256:
        difference = "has its weights, but another tokenizer, pooling or other prompts"
    else:
        difference = f"is another model (sha256 {model.sha256[:DIGITS]} and not {facts.sha256[:DIGITS]})"
    msg = (
        f"{checkpoint.location.given}: the index is of {facts.name}, and this {difference}; "
        "take the model that it was built with, or index the corpus again"
    )
    raise EmbedmergeError(msg)


def _recorded(bundle: Path, facts: ModelFacts) -> str:
    beside = bundle / facts.location
    if beside.is_dir():
        return str(beside)
    if "@" in facts.location:
        return facts.location
    msg = f"{bundle}: its model {facts.name} is not at {facts.location} any more; say where with --model"
    raise EmbedmergeError(msg)
