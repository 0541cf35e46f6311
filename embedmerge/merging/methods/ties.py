"""Trim small changes, elect a sign, average what agrees with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from embedmerge.merging.sign_election import agreeing_merge
from embedmerge.merging.spec import MethodSpec, Parameter
from embedmerge.merging.trimming import largest, trimmed

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from embedmerge.merging.part import Part
    from embedmerge.merging.survey import KthLargest

    Float32 = NDArray[np.float32]


def survey(*, density: tuple[float, ...], **_: Any) -> KthLargest:
    """The magnitude that a share `density` of each task vector's elements reaches."""
    return largest(density)


def combine(part: Part, *, density: tuple[float, ...], scope: str, agg: str) -> Float32:
    """TIES-Merging: trim, elect, merge (arXiv 2306.01708, section 4, algorithm 1).

    Each task vector keeps its largest elements, all that equal the smallest of them included; each
    element's sign is that of the weighted sum of what is kept; those that have it are averaged (or
    added, `agg="sum"`).
    """
    return agreeing_merge(trimmed(part, part.facts[:, 0]), part, agg=agg)


SPEC = MethodSpec(
    name="ties",
    combine=combine,
    summary="trim small changes, elect a sign for each element, average those that have it",
    citation="Yadav et al. 2023, arXiv 2306.01708",
    survey=survey,
    parameters={
        "density": Parameter(0.2, "share of each task vector's elements that is kept", 0, 1, by_expert=True),
        "scope": Parameter("model", "over what the share is taken", choices=("model", "tensor")),
        "agg": Parameter("mean", "what is made of the agreeing elements", choices=("mean", "sum")),
    },
)
