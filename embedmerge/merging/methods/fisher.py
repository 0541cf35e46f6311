"""Average in which each element counts for as much as the source knows of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from embedmerge.merging.spec import MethodSpec, Parameter

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from embedmerge.merging.part import Part

    Float32 = NDArray[np.float32]
    Float64 = NDArray[np.float64]

FLOOR = np.float32(1e-6)  # of the mean: the least that an element counts for


class Scales:
    """What each source's Fisher information is measured by.

    `facts` is one number per source: the root mean square of its own elements, or the mean of all sources'.

    Args:
        own: Whether each source is measured by its own.
    """

    def __init__(self, own: bool) -> None:
        self.passes = 1
        self._own = own
        self._elements = 0
        self._totals: Any = 0.0

    def look(self, part: Part) -> tuple[int, Float64]:
        """Sums of the elements, or of their squares."""
        power = 2 if self._own else 1
        if part.statistics is None:
            return 0, np.zeros(len(part.sources))
        sums = [(fisher.astype(np.float64) ** power).sum() for fisher in part.statistics]
        return part.base.size, np.array(sums)

    def add(self, seen: tuple[int, Float64]) -> None:
        """Add them up."""
        self._elements += seen[0]
        self._totals = self._totals + seen[1]

    def finish_pass(self) -> bool:
        """One pass is all."""
        return False

    @property
    def facts(self) -> Float64:
        """The scales, 1 for a source without information."""
        means = np.asarray(self._totals) / max(self._elements, 1)
        known = means > 0
        shared = means[known].mean() if known.any() else 1.0
        own = np.sqrt(means, where=known, out=np.ones_like(means))
        return own if self._own else np.full_like(means, shared)


def survey(*, normalise: bool, **_: Any) -> Scales:
    """The scale of each source's Fisher information over the whole model."""
    return Scales(own=normalise)


def precisions(part: Part) -> list[Float32]:
    """`|cᵢ| Fᵢ` of every source, in parts of its scale and at least the floor."""
    assert part.statistics is not None
    return [
        np.float32(abs(weight)) * np.maximum(fisher / np.float32(scale), FLOOR)
        if weight
        else np.zeros_like(part.base)
        for weight, fisher, scale in zip(part.weights, part.statistics, part.facts, strict=True)
    ]


def combine(part: Part, *, normalise: bool, **_: Any) -> Float32:
    """`θ = Σ cᵢ Fᵢ θᵢ / Σ cᵢ Fᵢ`, elementwise, over all sources (arXiv 2111.09832, eq. 2).

    F is the diagonal Fisher information (`statistics.fisher`). An element of which no text tells
    anything has the floor in every source, and is averaged. It is computed as
    `θ₀ + Σ|cᵢ| · Σ cᵢ Fᵢ τᵢ / Σ |cᵢ| Fᵢ`, which is the same for weights that are not negative and
    stays bounded for those that are.
    """
    reach = np.float32(sum(abs(weight) for weight in part.weights))
    known = precisions(part)
    total = sum(known[1:], start=known[0])
    merged = part.base.copy()
    for weight, precision, task_vector in zip(part.weights[1:], known[1:], part.task_vectors, strict=True):
        merged += np.float32(np.sign(weight)) * reach * (precision / total) * task_vector
    return merged


SPEC = MethodSpec(
    name="fisher",
    combine=combine,
    summary="average in which each element counts for its Fisher information on unlabelled text",
    citation="Matena and Raffel 2022, arXiv 2111.09832",
    of="sources",
    survey=survey,
    scope="model",
    statistics="fisher",
    parameters={
        "normalise": Parameter(False, "divide each source's information by its norm over the model"),
        "temperature": Parameter(
            0.05, "divides the cosines when the nearest text is asked for", 1e-3, whole=True
        ),
        "examples": Parameter(256, "texts at most that are read", 8, whole=True),
        "seed": Parameter(0, "of the choice of texts and of random signs", 0, whole=True),
    },
)
