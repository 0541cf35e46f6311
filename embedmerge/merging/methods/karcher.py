"""Mean of directions on the sphere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from embedmerge.merging.spec import MethodSpec, Parameter
from embedmerge.merging.sphere import combination, karcher_direction, of_mean_length, turned_task_vectors
from embedmerge.merging.survey import Gram

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from embedmerge.merging.part import Part

    Float32 = NDArray[np.float32]


def survey(*, task_vectors: bool, **_: Any) -> Gram:
    """Inner products of the task vectors, or of the sources."""
    return Gram(turned_task_vectors if task_vectors else lambda part: part.sources)


def combine(part: Part, *, task_vectors: bool, max_iter: float, tol: float) -> Float32:
    """`Σ pᵢ‖τᵢ‖ · u`, u the unit vector with the smallest `Σ pᵢ ∠(u, τᵢ)²` (Karcher 1977).

    Found by steps `u ← exp_u(Σ pᵢ log_u(τᵢ/‖τᵢ‖))`. Without task vectors it is the same with `wᵢ` and
    `θᵢ` over all sources, the base included.
    """

    def mean(tensors: tuple[Float32, ...], weights: NDArray[np.float64]) -> Float32:
        direction = karcher_direction(part.facts, weights, int(max_iter), tol)
        return combination(tensors, of_mean_length(direction, part.facts, weights))

    if not task_vectors:
        return mean(part.sources, np.array(part.weights))
    return part.base + np.float32(part.scale) * mean(turned_task_vectors(part), np.abs(part.shares))


SPEC = MethodSpec(
    name="karcher",
    combine=combine,
    summary="mean of the task vectors' directions on the sphere, at their mean length",
    citation="Karcher 1977, doi:10.1002/cpa.3160300502",
    of="sources",
    survey=survey,
    parameters={
        "task_vectors": Parameter(True, "whether of the task vectors, or else of the whole weights"),
        "max_iter": Parameter(10, "most steps", 0, whole=True),
        "tol": Parameter(1e-5, "length of a step, in radians, that is the last", 0, whole=True),
    },
)
