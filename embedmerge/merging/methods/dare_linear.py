"""Random elements of the task vectors dropped, the rest made larger and added up."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from embedmerge.merging import dropping
from embedmerge.merging.part import Part, weighted_sum
from embedmerge.merging.spec import MethodSpec, Parameter

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from embedmerge.merging.survey import Sums

    Float32 = NDArray[np.float32]


def keep(density: tuple[float, ...]) -> list[np.float32]:
    """Each expert's probability of being kept, the same for all of its elements."""
    return [np.float32(probability) for probability in density]


def survey(*, density: tuple[float, ...], seed: float, rescale: str) -> Sums | None:
    """L1 norms before and after dropping, where the rescaling needs them."""
    return dropping.survey(lambda _: keep(density), seed, rescale)


def combine(part: Part, *, density: tuple[float, ...], seed: float, rescale: str) -> Float32:
    """`Σ pᵢ · mᵢ ⊙ τᵢ / dᵢ`, mᵢ ~ Bernoulli(dᵢ), dᵢ = 1 - p being the density (arXiv 2311.03099, eq. 1).

    Its expectation over the seeds is task arithmetic.
    """
    return weighted_sum(dropping.dropped(part, keep(density), seed, rescale), part.shares)


SPEC = MethodSpec(
    name="dare_linear",
    combine=combine,
    summary="drop random elements of the task vectors, rescale the others, add them up",
    citation="Yu et al. 2024, arXiv 2311.03099",
    survey=survey,
    affine=True,
    parameters={
        "density": Parameter(0.5, "share of the elements that is kept", 0, 1, by_expert=True),
        "seed": dropping.SEED,
        "rescale": dropping.RESCALE,
    },
)
