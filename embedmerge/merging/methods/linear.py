"""Weighted average of the sources' tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from embedmerge.merging.part import Part, weighted_sum
from embedmerge.merging.spec import MethodSpec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Float32 = NDArray[np.float32]


def combine(part: Part) -> Float32:
    """`θ = Σ wᵢ θᵢ` over all sources, the base included.

    With weights of sum 1 this is LM-Cocktail's mixture (arXiv 2311.13534, section 3) and a model soup
    (arXiv 2203.05482).
    """
    return weighted_sum(part.sources, part.weights)


SPEC = MethodSpec(
    name="linear",
    combine=combine,
    summary="weighted average of all sources, the base included",
    citation="Wortsman et al. 2022, arXiv 2203.05482; Xiao et al. 2023, arXiv 2311.13534",
    of="sources",
    weights_default=False,
    affine=True,
)
