"""The trade-off that each merging method draws when all experts are merged and the scale is swept."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
from domains import TARGETS

from embedmerge.api import merge
from embedmerge.atomic import write_json
from embedmerge.merging.registry import methods
from embedmerge.sources import SourceSpec, open_sources
from embedmerge.weighting.ground import Retrieval
from embedmerge.weighting.guard import Guard
from embedmerge.weighting.landscape import Landscape

if TYPE_CHECKING:
    from study import Study

SCALES = np.round(np.linspace(0, 1.5, 61), 3)


def swept(study: Study) -> list[str]:
    """Methods that take all experts at once and need no text."""
    del study
    return [
        name
        for name, spec in methods().items()
        if spec.statistics is None and (spec.experts[1] or len(TARGETS)) >= len(TARGETS)
    ]


def fronts(study: Study) -> None:
    """Each method's line from the base through its merge of all experts, on every test set."""
    for name in swept(study):
        path = study.work / "fronts" / f"{name}.json"
        if not path.exists():
            write_json(path, front_of(study, name))
            print(name, flush=True)


def front_of(study: Study, method: str) -> dict[str, Any]:
    """Scores over the scale, shape (scales, sets)."""
    folder = study.work / "merged" / method
    if not folder.exists():
        specs = [source.spec for source in study.sources(*TARGETS)]
        merge(specs, [0.0] + [1 / len(TARGETS)] * len(TARGETS), folder, method=method)
    base = SourceSpec("base", str(study.base), "base")
    sources, _ = open_sources([base, SourceSpec(method, str(folder), "peer")])
    tests = study.tests()
    landscape = Landscape(
        study.trials(sources),
        [Retrieval(name, pool) for name, pool in tests.items()],
        Guard(most=8).grounds(),
    )
    landscape.bend()
    quality = landscape.quality(np.column_stack([1 - SCALES, SCALES]))
    return {"scales": SCALES.tolist(), "sets": list(tests), "scores": quality.target.by_ground.T.tolist()}


def read_fronts(study: Study) -> dict[str, dict[str, Any]]:
    """What `fronts` has written, by method."""
    paths = sorted((study.work / "fronts").glob("*.json"))
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in paths}
