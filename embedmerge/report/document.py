"""What a report holds, whatever form it takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from embedmerge.evaluation.compare import Comparison
    from embedmerge.report.queries import Queries
    from embedmerge.weighting.selection import Selection


@dataclass(frozen=True)
class SourceRecord:
    """A source as the report names it.

    Attributes:
        name: Name in the recipe.
        role: `base`, `target` or `peer`.
        location: Folder or hub id as the recipe gives it.
        revision: Commit for a hub id, else None.
        sha256: Digest over the source's weight files.
        license: Licence the source's card states, else None.
    """

    name: str
    role: str
    location: str
    revision: str | None
    sha256: str
    license: str | None = None


@dataclass(frozen=True)
class AnchorRecord:
    """What took the base's place while weights were chosen: all experts merged first.

    Attributes:
        name: As the weights and the comparison name it.
        method: Merging method.
        parameters: Its parameters and modifiers.
        sha256: Digest over its weight files.
    """

    name: str
    method: str
    parameters: dict[str, Any]
    sha256: str


@dataclass(frozen=True)
class WeightingRecord:
    """How the weights were chosen.

    Attributes:
        strategy: As a recipe names it.
        parameters: The strategy's parameters with every default filled in.
        examples: Number of examples used, 0 where the strategy needs none.
        losses: Mean loss of each source on the examples; empty where none was computed.
        losses_se: Standard error of each mean loss; empty likewise.
        selection: The trade-off and how sure the choice is; None from a strategy that sees one side only.
    """

    strategy: str
    parameters: dict[str, Any]
    examples: int
    losses: dict[str, float]
    losses_se: dict[str, float]
    selection: Selection | None = None


@dataclass(frozen=True)
class Report:
    """A finished run.

    Attributes:
        tool: `embedmerge` and its version.
        title: Name of the recipe.
        method: Merging method.
        method_parameters: Its parameters.
        sources: Base first, then the experts in the recipe's order.
        weighting: How the weights were chosen.
        weights: Weight of every source, by name, in the order of `sources`; where there is an anchor, its own
            and the fine-tune's.
        comparison: Scores of all models, or None where the recipe names no task.
        encoding: Settings the texts were encoded with (precision, maximum length).
        notes: Things found on the way that the reader should know, such as qrels that name unknown documents.
        model_sha256: Digest over the merged model's weight files.
        versions: Versions of the libraries that made the numbers.
        queries: Queries one by one, base against merged; None where there are none or they were not kept.
        anchor: What took the base's place while weights were chosen; None where nothing did.
    """

    tool: str
    title: str
    method: str
    method_parameters: dict[str, Any]
    sources: tuple[SourceRecord, ...]
    weighting: WeightingRecord
    weights: dict[str, float]
    comparison: Comparison | None
    encoding: dict[str, Any]
    notes: tuple[str, ...]
    model_sha256: str
    versions: dict[str, str]
    queries: Queries | None = None
    anchor: AnchorRecord | None = None

    @property
    def fine_tune(self) -> str | None:
        """Name of the target expert; None where there is none."""
        return next((source.name for source in self.sources if source.role == "target"), None)

    @property
    def roles(self) -> dict[str, str]:
        """The role of everything that was merged or is weighed, by name."""
        roles = {source.name: source.role for source in self.sources}
        return roles if self.anchor is None else {**roles, self.anchor.name: "merged first"}
