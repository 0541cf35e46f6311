"""The largest and the smallest changes of each tensor dropped, the rest added up."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from embedmerge.merging.part import Part, weighted_sum
from embedmerge.merging.sign_election import agreeing_merge
from embedmerge.merging.spec import MethodSpec, Parameter
from embedmerge.merging.survey import KthLargest, elements_kept
from embedmerge.merging.trimming import magnitudes

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Float32 = NDArray[np.float32]


def first_and_last(density: float, gamma: float, elements: int) -> tuple[int, int]:
    """Ranks of the largest and the smallest element that are kept; 0 where none is."""
    kept = elements_kept(density, elements)
    # 0.29 of 100 must be 29 although 0.29 * 100 is a little less.
    outliers = min(int(round(gamma * elements, 6)), elements - kept)
    return outliers + 1 if kept else 0, outliers + kept if kept else 0


def survey(*, density: tuple[float, ...], gamma: tuple[float, ...], **_: Any) -> KthLargest:
    """The largest and the smallest magnitude that are kept of each task vector."""
    each = zip(density, gamma, strict=True)
    return KthLargest(magnitudes, [partial(first_and_last, *shares) for shares in each])


def combine(part: Part, *, density: tuple[float, ...], gamma: tuple[float, ...], elect: bool) -> Float32:
    """Model Breadcrumbs: `Σ pᵢ · mᵢ ⊙ τᵢ` (arXiv 2312.06795, eq. 2).

    mᵢ leaves out the share γ of the largest elements of the tensor (rounded down, so none of a small
    one) and as many of the smallest as there are beyond the density. Elements that equal the largest or
    the smallest kept one are kept.
    """
    masked = [
        tau * ((magnitude <= largest) & (magnitude >= smallest))
        for tau, magnitude, (largest, smallest) in zip(
            part.task_vectors, magnitudes(part), part.facts, strict=True
        )
    ]
    return agreeing_merge(masked, part) if elect else weighted_sum(masked, part.shares)


SPEC = MethodSpec(
    name="breadcrumbs",
    combine=combine,
    summary="drop the largest and the smallest changes of each tensor, add up the rest",
    citation="Davari and Belilovsky 2023, arXiv 2312.06795",
    survey=survey,
    affine=True,
    parameters={
        "density": Parameter(0.9, "share of each tensor's elements that is kept", 0, 1, by_expert=True),
        "gamma": Parameter(
            0.01, "share of each tensor's elements dropped as the largest", 0, 1, by_expert=True
        ),
        "elect": Parameter(False, "whether a sign is elected and what has it averaged, as TIES does"),
    },
)
