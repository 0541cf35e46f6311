"""The summed task vector where it matters to several experts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from embedmerge.merging.part import Part, weighted_sum
from embedmerge.merging.sign_election import agreeing_merge
from embedmerge.merging.spec import MethodSpec, Parameter
from embedmerge.merging.trimming import largest, trimmed

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from embedmerge.merging.survey import KthLargest

    Float32 = NDArray[np.float32]


def survey(*, multitask: str, density: tuple[float, ...], **_: Any) -> KthLargest | None:
    """TIES' thresholds, where the merged task vector is that of TIES."""
    return largest(density) if multitask == "ties" else None


def merged_task_vector(part: Part, multitask: str) -> Float32:
    """τ_MTL: the sum of the task vectors, or TIES' sum of those of their elements that agree."""
    if multitask == "sum":
        return weighted_sum(part.task_vectors, part.factors)
    return agreeing_merge(trimmed(part, part.facts[:, 0]), part, agg="sum")


def combine(
    part: Part,
    *,
    mask_strength: tuple[float, ...],
    agree: float,
    multitask: str,
    density: tuple[float, ...],
    scope: str,
) -> Float32:
    """Consensus Merging: `τ = 1[Σᵢ mᵢ ≥ k] ⊙ τ_MTL` (arXiv 2405.07813, eq. 6).

    mᵢ is the TALL mask `|τᵢ| > λᵢ · |τ_MTL - τᵢ|` (eq. 4): where the merged task vector is of use to
    expert i. k = 1 drops what is of use to none, k = 2 also what is of use to one alone; k is at most
    the number of experts.
    """
    merged = merged_task_vector(part, multitask)
    masks = [
        np.abs(tau) > np.float32(strength) * np.abs(merged - tau)
        for tau, strength in zip(part.task_vectors, mask_strength, strict=True)
    ]
    merged *= np.sum(masks, axis=0) >= min(agree, len(masks))
    return merged


SPEC = MethodSpec(
    name="consensus",
    combine=combine,
    summary="sum of the task vectors, where it is of use to several experts (TALL masks)",
    citation="Wang et al. 2024, arXiv 2405.07813",
    survey=survey,
    parameters={
        "mask_strength": Parameter(
            0.5, "λ: the larger, the fewer elements are of use to an expert", 0, by_expert=True
        ),
        "agree": Parameter(2, "k: experts that an element must be of use to", 0),
        "multitask": Parameter("sum", "how the merged task vector is made", choices=("sum", "ties")),
        "density": Parameter(
            0.2, "of `ties`: share of each task vector's elements that is kept", 0, 1, by_expert=True
        ),
        "scope": Parameter("model", "of `ties`: over what it is taken", choices=("model", "tensor")),
    },
)
