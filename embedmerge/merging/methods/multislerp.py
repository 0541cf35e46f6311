"""Mean direction and mean length of the task vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from embedmerge.merging.spec import MethodSpec
from embedmerge.merging.sphere import combination, mean_direction, of_mean_length, turned_task_vectors
from embedmerge.merging.survey import Gram

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from embedmerge.merging.part import Part

    Float32 = NDArray[np.float32]


def survey() -> Gram:
    """Inner products of the task vectors."""
    return Gram(turned_task_vectors)


def combine(part: Part) -> Float32:
    """`τ = Σ pᵢ‖τᵢ‖ · m/‖m‖` with `m = Σ pᵢ τᵢ/‖τᵢ‖`: a Karcher mean before its first step.

    mergekit's `multislerp` comes to this, as it projects on the tangent space at m itself, where the
    projections cancel out. Task vectors whose directions cancel out are averaged.
    """
    weights = np.abs(part.shares)
    direction = mean_direction(part.facts, weights)
    return combination(turned_task_vectors(part), of_mean_length(direction, part.facts, weights))


SPEC = MethodSpec(
    name="multislerp",
    combine=combine,
    summary="mean direction of the task vectors at their mean length, tensor by tensor",
    citation="Goddard et al. 2024, arXiv 2403.13257",
    survey=survey,
)
