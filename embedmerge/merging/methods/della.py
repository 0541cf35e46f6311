"""Elements dropped at random, the small ones of a row sooner, then a sign elected."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from embedmerge.merging import dropping
from embedmerge.merging.sign_election import agreeing_merge
from embedmerge.merging.spec import MethodSpec, Parameter

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from embedmerge.merging.part import Part
    from embedmerge.merging.survey import Sums

    Float32 = NDArray[np.float32]

PLACE_BITS = 32  # of a 64-bit key, below those of a magnitude


def ranks(magnitudes: Float32) -> NDArray[np.int64]:
    """Rank of every element within its row, from 0 for the smallest; the first of equals is the lower.

    Args:
        magnitudes: Non-negative, (rows, columns).
    """
    # Magnitude and place in one key: no two are equal, so that any way of sorting gives the same order.
    places = np.arange(magnitudes.shape[1], dtype=np.uint64)
    keys = magnitudes.view(np.uint32).astype(np.uint64) << np.uint64(PLACE_BITS) | places
    order = (np.sort(keys, axis=1) & np.uint64((1 << PLACE_BITS) - 1)).astype(np.int64)
    ranked = np.empty_like(order)
    np.put_along_axis(ranked, order, np.arange(order.shape[1])[None], axis=1)
    return ranked


def keep(part: Part, density: tuple[float, ...], epsilon: tuple[float, ...]) -> list[Float32]:
    """`k = d - ε + 2ε · r / (c - 1)`, r being the rank of an element of `|τᵢ|` among the c of its row.

    ε is held to at most d and 1 - d, so that these are probabilities with mean d.
    """
    last = part.base.shape[1] - 1
    return [
        np.float32(d) + np.float32(min(e, d, 1 - d)) * _centred(ranks(np.abs(tau)), last)
        for tau, d, e in zip(part.task_vectors, density, epsilon, strict=True)
    ]


def survey(
    *, density: tuple[float, ...], epsilon: tuple[float, ...], seed: float, rescale: str, agg: str
) -> Sums | None:
    """L1 norms before and after dropping, where the rescaling needs them."""
    return dropping.survey(lambda part: keep(part, density, epsilon), seed, rescale)


def combine(
    part: Part,
    *,
    density: tuple[float, ...],
    epsilon: tuple[float, ...],
    seed: float,
    rescale: str,
    agg: str,
) -> Float32:
    """DELLA: drop each element with a probability that falls with its rank, elect, fuse (arXiv 2406.11617).

    What is kept is divided by its own probability of being kept (MagPrune, section 3.1), so that the
    expectation over the seeds is the task vector. A vector is one row.
    """
    survivors = dropping.dropped(part, keep(part, density, epsilon), seed, rescale)
    return agreeing_merge(survivors, part, agg=agg)


def _centred(ranked: NDArray[np.int64], last: int) -> Float32:
    """Ranks from 0 to `last` on the way from -1 to 1; 0 for a rank that is alone."""
    return ((2 * ranked - last) / max(last, 1)).astype(np.float32)


SPEC = MethodSpec(
    name="della",
    combine=combine,
    summary="drop elements at random, the small ones of a row sooner, rescale, elect signs as TIES does",
    citation="Deep et al. 2024, arXiv 2406.11617",
    cut="rows",
    survey=survey,
    parameters={
        "density": Parameter(0.5, "mean share of the elements that is kept", 0, 1, by_expert=True),
        "epsilon": Parameter(
            0.15, "how much more likely than the mean the largest is kept", 0, 1, by_expert=True
        ),
        "seed": dropping.SEED,
        "rescale": dropping.RESCALE,
        "agg": Parameter("mean", "what is made of the agreeing elements", choices=("mean", "sum")),
    },
)
