"""Columns weighed by how far their length and direction have moved, compared over the experts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from embedmerge.merging.movement import Movement, is_matrix
from embedmerge.merging.part import Part, weighted_sum
from embedmerge.merging.spec import MethodSpec, Parameter

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float32 = NDArray[np.float32]
    Float64 = NDArray[np.float64]


def survey(**_: Any) -> Movement:
    """How far the columns of each expert have moved."""
    return Movement()


def significances(part: Part) -> list[tuple[Float64, Float64 | float]]:
    """What the experts' elements signify, and the mean of it over the tensor, for each way to tell.

    Each has the experts first and then the dimensions of the part, or ones that spread over them. By the
    ranks of length and of direction for a matrix, and by `|τᵢ|` for any other tensor.
    """
    if not is_matrix(part.site):
        return [(np.abs(np.stack(part.task_vectors)).astype(np.float64), part.facts[:, :, None])]
    columns = part.facts.shape[2]
    # Not summed up: rounding would put the column in the middle above the mean, or not, by their order.
    mean = (columns - 1) / 2 / columns
    if part.site.kind == "linear":
        ranks = part.facts[:, :, None, :]
    else:
        first = part.start // part.base.shape[1]
        ranks = part.facts[:, :, first : first + part.base.shape[0], None]
    return [(one, mean) for one in ranks]


def importance(significance: Float64, mean: Float64 | float, ratio: float, calibration: float) -> Float64:
    """Softmax over the experts, and the calibration value for what is above the mean."""
    powers = np.exp(significance - significance.max(axis=0))
    return np.where(significance > ratio * mean, calibration, powers / powers.sum(axis=0))


def combine(part: Part, *, ratio: float, calibration: float) -> Float32:
    """WIDEN: `Σᵢ ½ (s_m + s_D)ᵢ ⊙ τᵢ`, each τᵢ times its factor (arXiv 2408.03092, section 3).

    A matrix is taken apart into the lengths of its columns (of its rows for a lookup table, so that a
    token is one column) and their directions. The columns of an expert are ranked by how far their
    length has moved from the base's, and by how far their direction has. s_m and s_D are the softmax of
    these ranks over the experts, and the calibration value for a column whose rank is above the mean.
    In vectors each element is weighed like this by `|τᵢ|`.
    """
    scores = [importance(*one, ratio, calibration) for one in significances(part)]
    score = np.mean(scores, axis=0).astype(np.float32)
    return weighted_sum([one * tau for one, tau in zip(score, part.task_vectors, strict=True)], part.factors)


SPEC = MethodSpec(
    name="widen",
    combine=combine,
    summary="weigh columns by how far their length and direction have moved, compared over the experts",
    citation="Yu et al. 2024, arXiv 2408.03092",
    cut="rows",
    survey=survey,
    parameters={
        "ratio": Parameter(1.0, "times the mean that the rank of an important column is above", 0),
        "calibration": Parameter(1.0, "what an important column counts for", 0),
    },
)
