"""From one task vector to another along an arc."""

from __future__ import annotations

from typing import TYPE_CHECKING

from embedmerge.merging.spec import MethodSpec, Parameter
from embedmerge.merging.sphere import combination, row_gram, slerp, turned_task_vectors
from embedmerge.merging.survey import Gram

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from embedmerge.merging.part import Part

    Float32 = NDArray[np.float32]


def survey(*, row_wise: bool) -> Gram | None:
    """Inner products of the task vectors; each row has its own where it goes by rows."""
    return None if row_wise else Gram(turned_task_vectors)


def combine(part: Part, *, row_wise: bool) -> Float32:
    """`τ = sin((1-t)Ω)/sin Ω · τ₁ + sin(tΩ)/sin Ω · τ₂` (Shoemake 1985; mergekit calls it NuSLERP).

    t is the second expert's share, Ω the angle between the task vectors of a tensor, or of each of its
    rows. Task vectors are far enough apart for the arc to matter, which whole weights are not.
    """
    task_vectors = turned_task_vectors(part)
    gram = row_gram(task_vectors) if row_wise else part.facts
    return combination(task_vectors, slerp(gram, abs(part.shares[1])))


SPEC = MethodSpec(
    name="nuslerp",
    combine=combine,
    summary="from one expert's task vector to another's along an arc, by tensor or by row",
    citation="Shoemake 1985, doi:10.1145/325334.325242; Goddard et al. 2024, arXiv 2403.13257",
    cut="rows",
    survey=survey,
    parameters={"row_wise": Parameter(False, "whether each row of a tensor has an angle of its own")},
    experts=(2, 2),
)
