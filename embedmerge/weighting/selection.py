"""What choosing weights has found: the trade-off, the choice, and how sure it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from embedmerge.weighting.surface import Surface  # noqa: TC001 - pydantic reads it

GeneralMeasure = Literal["ndcg_at_10", "preservation"]


@dataclass(frozen=True)
class Estimate:
    """A mean over queries that had no say in the choice.

    Attributes:
        value: The mean.
        low: Lower end of its 95 % bootstrap interval.
        high: Upper end.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Candidate:
    """A model beside the chosen one.

    Attributes:
        name: A source's, `uniform`, `cocktail`, `placebo` or `chosen`.
        weights: Its weights by source; None for the placebo, which is no mixture.
        target: On the target.
        general: On the general side.
        target_to_base: Paired difference to the base; None for the base.
        general_to_base: Likewise.
        exact: Whether it was really encoded, and not approximated from its sources.
    """

    name: str
    weights: dict[str, float] | None
    target: Estimate
    general: Estimate
    target_to_base: Estimate | None
    general_to_base: Estimate | None
    exact: bool


@dataclass(frozen=True)
class FrontPoint:
    """A mixture that none beats on one side without losing on the other.

    Attributes:
        weights: By source.
        target: Mean on the target, approximate.
        general: Mean on the general side, approximate.
        parameters: Of the method, where they were searched too.
    """

    weights: dict[str, float]
    target: float
    general: float
    parameters: dict[str, float] | None = None


@dataclass(frozen=True)
class Confirmation:
    """The chosen mixture really merged and encoded, beside what was expected of it.

    Attributes:
        rounds: How often a choice was encoded: one, and one more for each time it was found off.
        encodes: Models that texts were encoded with in all.
        target: Expected minus true mean on the target.
        general: Expected minus true mean on the general side.
        distance: Mean cosine distance of the expected from the true embeddings.
    """

    rounds: int
    encodes: int
    target: float
    general: float
    distance: float


@dataclass(frozen=True)
class Selection:
    """What a strategy that looks at both sides has found.

    Attributes:
        strategy: Which one.
        objective: What was maximised on the target: `ndcg_at_10`, `recall_at_100`, or `loss` for minus the
            InfoNCE loss.
        measure: What the target is reported in, in points: `ndcg_at_10` or `recall_at_100`.
        general_measure: `ndcg_at_10` in points; `preservation` for the KL divergence from the base, in nats,
            negated.
        guard: What the general side was measured on, in words.
        floor: What the general side had to keep, in words.
        examples: Number of target queries.
        guarded: Number of general queries or texts.
        checked: `split` where half the examples were kept from choosing, `cross-validated` where few.
        front: The trade-off, best target first.
        candidates: Base, experts, uniform, cocktail, placebo and the choice, on queries without a say in it.
        as_good: Source -> lowest and highest weight among mixtures above the floor that these examples cannot
            tell from the chosen one.
        confirmation: What encoding the choice has shown.
        lost: Sources that no longer retrieve, which get no weight.
        notes: What the reader should know.
        surface: What is expected of any mixture; None where mixtures were tried one by one.
    """

    strategy: str
    objective: str
    measure: str
    general_measure: GeneralMeasure
    guard: str
    floor: str
    examples: int
    guarded: int
    checked: Literal["split", "cross-validated"]
    front: tuple[FrontPoint, ...]
    candidates: tuple[Candidate, ...]
    as_good: dict[str, tuple[float, float]]
    confirmation: Confirmation
    lost: tuple[str, ...]
    notes: tuple[str, ...]
    surface: Surface | None = None
