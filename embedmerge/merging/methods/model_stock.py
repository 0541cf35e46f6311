"""As far from the base as the experts agree."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from embedmerge.merging.spec import MethodSpec, Parameter
from embedmerge.merging.sphere import combination, cosines, row_gram, turned_task_vectors
from embedmerge.merging.survey import Gram

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from embedmerge.merging.part import Part

    Float32 = NDArray[np.float32]
    Float64 = NDArray[np.float64]


def survey(*, filter_wise: bool) -> Gram | None:
    """Inner products of the task vectors; each row has its own where it goes by rows."""
    return None if filter_wise else Gram(turned_task_vectors)


def ratio(gram: Float64) -> Float64:
    """`t = n·c / (1 + (n-1)·c)`, in [0, 1], c being the mean cosine between two task vectors.

    Experts that contradict each other (c < 0) would give a negative t, without bound: it is 0 there.
    """
    count = gram.shape[-1]
    first, second = np.triu_indices(count, k=1)
    cosine = np.maximum(cosines(gram)[..., first, second].mean(axis=-1), 0)
    return np.asarray(count * cosine / (1 + (count - 1) * cosine))


def combine(part: Part, *, filter_wise: bool) -> Float32:
    """`τ = t · Σ pᵢ τᵢ`: the point nearest to the centre that the experts lie around.

    t follows from the angle between the task vectors of a tensor, or of each of its rows (Model Stock,
    arXiv 2403.19522, section 4, with the cosines of all pairs averaged).
    """
    task_vectors = turned_task_vectors(part)
    gram = row_gram(task_vectors) if filter_wise else part.facts
    return combination(task_vectors, ratio(gram)[..., None] * np.abs(part.shares))


SPEC = MethodSpec(
    name="model_stock",
    combine=combine,
    summary="average of the experts, as far from the base as the angles between them say",
    citation="Jang et al. 2024, arXiv 2403.19522",
    cut="rows",
    survey=survey,
    parameters={"filter_wise": Parameter(False, "whether each row of a tensor has a ratio of its own")},
    experts=(2, None),
)
