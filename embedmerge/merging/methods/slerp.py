"""From the base to an expert along an arc."""

from __future__ import annotations

from typing import TYPE_CHECKING

from embedmerge.merging.spec import MethodSpec
from embedmerge.merging.sphere import combination, slerp
from embedmerge.merging.survey import Gram

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from embedmerge.merging.part import Part

    Float32 = NDArray[np.float32]


def survey() -> Gram:
    """Inner products of the base and the expert."""
    return Gram(lambda part: part.sources)


def combine(part: Part) -> Float32:
    """`θ = sin((1-t)Ω)/sin Ω · θ₀ + sin(tΩ)/sin Ω · θ₁` (Shoemake 1985, SIGGRAPH).

    t is the expert's weight, Ω the angle between the two tensors. Where the cosine is above 0.9995 it
    is the straight line; so it mostly is between a base and an expert tuned from it.
    """
    return combination(part.sources, slerp(part.facts, part.weights[1]))


SPEC = MethodSpec(
    name="slerp",
    combine=combine,
    summary="from the base to one expert along an arc, tensor by tensor",
    citation="Shoemake 1985, doi:10.1145/325334.325242",
    of="sources",
    survey=survey,
    experts=(1, 1),
    weights_default=False,
)
