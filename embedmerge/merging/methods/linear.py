"""Weighted average of the sources' tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from embedmerge.merging.spec import MethodSpec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Float32 = NDArray[np.float32]


def combine(tensors: Sequence[Float32], coefficients: Sequence[float]) -> Float32:
    """Sum of `coefficients[i] * tensors[i]`, accumulated in float32 in the order given.

    With the base among the tensors and coefficients that sum to one this is task arithmetic
    (arXiv 2212.04089) and LM-Cocktail's mixture (arXiv 2311.13534, section 3). A tensor that counts
    for 1 among others that count for 0 comes out bit for bit.

    >>> combine([np.zeros(2, np.float32), np.ones(2, np.float32)], [0.75, 0.25])
    array([0.25, 0.25], dtype=float32)
    """
    total = np.full_like(tensors[0], -0.0, dtype=np.float32)  # -0.0 + x is x, the sign of zero included
    for tensor, coefficient in zip(tensors, coefficients, strict=True):
        if coefficient:
            total += np.float32(coefficient) * tensor
    return total


SPEC = MethodSpec(
    name="linear",
    combine=combine,
    summary="weighted average of all sources, the base included",
    citation="Wortsman et al. 2022, arXiv 2203.05482; Xiao et al. 2023, arXiv 2311.13534",
    elementwise=True,
)
