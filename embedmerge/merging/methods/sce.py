"""Where the experts differ most: weights from the size of the changes, minority signs erased."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from embedmerge.merging.sign_election import agreeing_merge
from embedmerge.merging.spec import MethodSpec, Parameter
from embedmerge.merging.survey import Chain, KthLargest, Sums, share

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from embedmerge.merging.part import Part

    Float32 = NDArray[np.float32]
    Float64 = NDArray[np.float64]


def variance(part: Part) -> Float32:
    """Variance of each element over the experts; 0 where they are alike."""
    # Seen from the first: the mean of equal numbers may differ from them in the last bit.
    apart = np.stack([tau - part.task_vectors[0] for tau in part.task_vectors])
    squares = np.square(apart - np.mean(apart, axis=0))
    return np.asarray(np.mean(squares, axis=0), dtype=np.float32)


def selected(part: Part, threshold: np.float32) -> list[Float32]:
    """The task vectors, 0 where the experts differ less than the threshold."""
    chosen = variance(part) >= threshold
    return [tau * chosen for tau in part.task_vectors]


def survey(*, select_topk: float, **_: Any) -> Chain:
    """The variance that the selected elements reach; then the energies, selected and whole."""

    def energies(threshold: np.float32) -> Sums:
        def squares(part: Part) -> Float64:
            both = (selected(part, threshold), part.task_vectors)
            return np.array([[np.square(one, dtype=np.float64).sum() for one in tensors] for tensors in both])

        return Sums(squares)

    differing = KthLargest(lambda part: [variance(part)], share(select_topk))
    return Chain(differing, lambda found: energies(found[0, 0]), passes=3)


def weights(energies: Float64, equalise: bool) -> list[float]:
    """`wᵢ = Σ τᵢ² / Σⱼ Σ τⱼ²` over the selected elements; alike where nothing has changed."""
    kept, whole = energies
    size = np.divide(kept, whole, out=np.zeros_like(kept), where=whole > 0) if equalise else kept
    return list(size / size.sum()) if size.any() else [1.0] * len(size)


def combine(part: Part, *, select_topk: float, equalise: bool) -> Float32:
    """SCE: select, calculate, erase (arXiv 2408.07990, section 3.3).

    Of each tensor the elements with the largest variance over the experts are selected, ties included, so
    all where the experts are alike. (The authors' code takes the share of the elements that differ at all,
    and gives the base where none does.) An expert counts for the mean square of its selected elements,
    times its share; elements whose sign is not that of the (weighted) sum are erased, and the others
    averaged with these weights.
    """
    (threshold,), energies = part.facts[0][0], part.facts[1]
    return agreeing_merge(selected(part, threshold), part, emphasis=weights(energies, equalise))


SPEC = MethodSpec(
    name="sce",
    combine=combine,
    summary="keep what differs most between experts, weigh by squared change, erase minority signs",
    citation="Wan et al. 2024, arXiv 2408.07990",
    survey=survey,
    parameters={
        "select_topk": Parameter(0.1, "share of each tensor's elements that is selected", 0, 1),
        "equalise": Parameter(
            False, "whether squares are relative to the expert's whole change of the tensor"
        ),
    },
)
