"""What a run has found, as a report."""

from __future__ import annotations

from typing import TYPE_CHECKING

import embedmerge
from embedmerge.checkpoint.lineage import weights_sha256
from embedmerge.lock import library_versions
from embedmerge.recipe import ANCHOR
from embedmerge.report.document import AnchorRecord, Report, SourceRecord, WeightingRecord

if TYPE_CHECKING:
    from collections.abc import Iterator

    from embedmerge.checkpoint.layout import Checkpoint
    from embedmerge.evaluation.alarms import Health
    from embedmerge.evaluation.compare import Comparison
    from embedmerge.recipe import Anchor
    from embedmerge.retrieval.precision import PrecisionChoice
    from embedmerge.retrieval.settings import EncodingSettings
    from embedmerge.run import Opened
    from embedmerge.sources import Source
    from embedmerge.weighting.strategy import Choice


def not_as_asked(precisions: dict[str, PrecisionChoice], settings: EncodingSettings) -> Iterator[str]:
    """Models that do not bear what all were to be encoded in."""
    for name, found in precisions.items():
        if found.bf16 != settings.bf16:
            yield f"{name}: encoded in {found}"


def document(
    opened: Opened,
    choice: Choice,
    merged: Checkpoint,
    comparison: Comparison | None,
    health: Health | None,
    anchor: Checkpoint | None = None,
) -> Report:
    """What a run has found.

    Args:
        opened: What it started from.
        choice: The weights.
        merged: The merged model.
        comparison: Scores of all models.
        health: What the merged model's embeddings look like.
        anchor: What took the base's place while weights were chosen.
    """
    recipe = opened.recipe
    settings = recipe.encoding.settings()
    weighting = recipe.weighting.model_dump(
        mode="json", exclude={"strategy", "examples", "weights"}, exclude_none=True
    )
    by_tensor = choice.coefficients.by_tensor
    weighting.update({"by_tensor": by_tensor} if by_tensor else {})
    return Report(
        tool=f"embedmerge {embedmerge.__version__}",
        title=recipe.title or "embedmerge run",
        method=recipe.method.name,
        method_parameters=dict(recipe.method.parameters if choice.parameters is None else choice.parameters),
        sources=tuple(_source_record(source) for source in opened.sources),
        anchor=_anchor_record(recipe.anchor, anchor) if recipe.anchor and anchor else None,
        weighting=WeightingRecord(
            recipe.weighting.strategy,
            weighting,
            len(opened.examples.examples),
            choice.losses,
            choice.losses_se,
            choice.selection,
        ),
        weights=choice.coefficients.weights,
        comparison=comparison,
        encoding={
            "precision": "bf16" if settings.bf16 else "fp32",
            "max_seq_length": settings.max_seq_length or merged.max_seq_length,
        },
        notes=(*opened.notes, *(health.alarms if health else ())),
        model_sha256=weights_sha256(merged),
        versions=library_versions(),
    )


def _source_record(source: Source) -> SourceRecord:
    location = source.checkpoint.location
    return SourceRecord(
        name=source.name,
        role=source.role,
        location=location.given,
        revision=location.revision,
        sha256=source.weights_sha256,
        license=source.checkpoint.license,
    )


def _anchor_record(stated: Anchor, merged: Checkpoint) -> AnchorRecord:
    choice = stated.choice
    return AnchorRecord(ANCHOR, choice.name, dict(choice.parameters), weights_sha256(merged))
