"""Random elements of the task vectors dropped, then a sign elected."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from embedmerge.merging import dropping
from embedmerge.merging.methods import dare_linear
from embedmerge.merging.sign_election import agreeing_merge
from embedmerge.merging.spec import MethodSpec, Parameter

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from embedmerge.merging.part import Part
    from embedmerge.merging.survey import Sums

    Float32 = NDArray[np.float32]


def survey(*, agg: str, **parameters: Any) -> Sums | None:
    """L1 norms before and after dropping, where the rescaling needs them."""
    return dare_linear.survey(**parameters)


def combine(part: Part, *, density: tuple[float, ...], seed: float, rescale: str, agg: str) -> Float32:
    """DARE's `mᵢ ⊙ τᵢ / (1 - p)` (arXiv 2311.03099, eq. 1) in the place of TIES' trimmed task vectors."""
    survivors = dropping.dropped(part, dare_linear.keep(density), seed, rescale)
    return agreeing_merge(survivors, part, agg=agg)


SPEC = MethodSpec(
    name="dare_ties",
    combine=combine,
    summary="drop random elements of the task vectors, rescale the others, elect signs as TIES does",
    citation="Yu et al. 2024, arXiv 2311.03099; Yadav et al. 2023, arXiv 2306.01708",
    survey=survey,
    parameters={
        **dare_linear.SPEC.parameters,
        "agg": Parameter("mean", "what is made of the agreeing elements", choices=("mean", "sum")),
    },
)
