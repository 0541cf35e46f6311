"""The regions where each expert changed most, laid over each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from embedmerge.merging.spec import MethodSpec, Parameter
from embedmerge.merging.trimming import largest, magnitudes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from embedmerge.merging.part import Part
    from embedmerge.merging.survey import KthLargest

    Float32 = NDArray[np.float32]


def survey(*, density: tuple[float, ...], **_: Any) -> KthLargest:
    """The magnitude that a share `density` of each task vector's elements reaches."""
    return largest(density)


def combine(part: Part, *, density: tuple[float, ...], scope: str) -> Float32:
    """`Σᵢ m'ᵢ ⊙ τᵢ`, `m'ᵢ = pᵢ mᵢ / Σⱼ pⱼ mⱼ` (arXiv 2408.13656, section 3.2, the data-free variant).

    mᵢ is 1 on the share `density` of the elements where `|τᵢ|` is largest. Where regions overlap their
    experts are averaged; what is in none stays as in the base.
    """
    total = np.zeros_like(part.base)
    overlap = np.zeros_like(part.base)
    for tau, magnitude, threshold, weight in zip(
        part.task_vectors, magnitudes(part), part.facts[:, 0], part.shares, strict=True
    ):
        region = magnitude >= threshold
        total += np.float32(weight) * tau * region
        overlap += np.float32(abs(weight)) * region
    total /= np.maximum(overlap, np.finfo(np.float32).tiny)
    return total


SPEC = MethodSpec(
    name="localize_and_stitch",
    combine=combine,
    summary="keep of each expert the region where it changed most, average where regions overlap",
    citation="He et al. 2024, arXiv 2408.13656",
    survey=survey,
    parameters={
        "density": Parameter(0.1, "share of each expert's elements in its region", 0, 1, by_expert=True),
        "scope": Parameter("model", "over what the share is taken", choices=("model", "tensor")),
    },
)
