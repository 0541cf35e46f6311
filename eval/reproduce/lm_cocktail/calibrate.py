"""How much divergence from the base costs how much general retrieval, on training splits alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from domains import TARGETS
from pools import read_pool

from embedmerge.atomic import write_json
from embedmerge.weighting.ground import Retrieval
from embedmerge.weighting.guard import Guard
from embedmerge.weighting.landscape import Landscape
from embedmerge.weighting.pool import Pool

if TYPE_CHECKING:
    from study import Study

SHARES = np.round(np.linspace(0, 1, 41), 3)


def calibrate(study: Study) -> None:
    """Divergence, target and other domains' retrieval along the line from the base to every expert."""
    rows = {name: along_the_line(study, name) for name in TARGETS}
    write_json(study.work / "calibration.json", {"shares": SHARES.tolist(), "rows": rows})


def along_the_line(study: Study, name: str) -> dict[str, Any]:
    """One expert's line."""
    others = [other for other in TARGETS if other != name]
    landscape = Landscape(
        study.trials(study.sources(name)),
        [Retrieval(name, Pool.of_examples(read_pool(name, study.work)))],
        [
            *Guard().grounds(),
            *(Retrieval(other, Pool.of_examples(read_pool(other, study.work))) for other in others),
        ],
    )
    landscape.bend()
    weights = np.column_stack([1 - SHARES, SHARES])
    quality, losses = landscape.quality(weights), landscape.quality(weights, "loss")
    groups = quality.general.groups
    guard, labelled = np.flatnonzero(groups == 0), np.flatnonzero(groups > 0)
    return {
        "divergence": (-quality.general.of_rows(guard).means).tolist(),
        "target": quality.target.means.tolist(),
        "target_loss": (-losses.target.means).tolist(),
        "others": quality.general.of_rows(labelled).means.tolist(),
        "others_loss": (-losses.general.of_rows(labelled).means).tolist(),
    }
