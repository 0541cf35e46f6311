"""The trade-off that each merging method draws when all experts are merged and the scale is swept."""

from __future__ import annotations

import json
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np
from outcomes import gain_kept

from embedmerge.atomic import write_json
from embedmerge.merging.registry import methods
from embedmerge.weighting.ground import Retrieval
from embedmerge.weighting.guard import Guard
from embedmerge.weighting.landscape import Landscape

if TYPE_CHECKING:
    from outcomes import Scores
    from study import Study

LINEAR = "linear"
SCALES = np.round(np.linspace(0, 1.5, 61), 3)


def swept(study: Study) -> list[str]:
    """Methods that take all experts at once and need no text."""
    if study.setting.methods:
        return list(study.setting.methods)
    experts = len(study.setting.targets)
    return [
        name
        for name, spec in methods().items()
        if spec.statistics is None and (spec.experts[1] or experts) >= experts
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
    tests = study.tests()
    landscape = Landscape(
        study.trials(study.sources(pool=method)),
        [Retrieval(name, pool) for name, pool in tests.items()],
        Guard(most=8).grounds(),
    )
    landscape.bend()
    quality = landscape.quality(np.column_stack([1 - SCALES, SCALES]))
    return {"scales": SCALES.tolist(), "sets": list(tests), "scores": quality.target.by_ground.T.tolist()}


def front_table(study: Study, scores: Scores) -> str:
    """How far each method's line is ahead of the linear one, best first, and its best mean over all sets."""
    found = read_fronts(study)
    lines = [
        "| method | target ahead of linear where others are not below the base, mean | worst | best "
        "| scale of the best mean over all sets | gain kept, % | others |",
        "|---" * 7 + "|",
    ]
    linear = [(LINEAR, [0.0] * len(scores.targets))] if LINEAR in found else []
    for method, leads in sorted(
        [*ahead_of_linear(found, scores), *linear], key=lambda item: -np.mean(item[1])
    ):
        front = found[method]
        place = int(np.mean(front["scores"], axis=1).argmax())
        outcomes = [scores.outcome(target, np.array(front["scores"][place])) for target in scores.targets]
        others = fmean(each.forgetting for each in outcomes)
        lines.append(
            f"| {method} | {np.mean(leads):+.2f} | {min(leads):+.2f} | {max(leads):+.2f} "
            f"| {front['scales'][place]:.2f} | {gain_kept(outcomes):.0f} | {others:+.2f} |"
        )
    return "\n".join(lines)


def ahead_of_linear(found: dict[str, dict[str, Any]], scores: Scores) -> list[tuple[str, list[float]]]:
    """By how much each method's line is ahead of the linear one, best mean first.

    Returns:
        Method, and for each target the points by which the best of its mixtures that lose nothing on the
        others is ahead of the best such linear mixture.
    """
    if LINEAR not in found:
        return []
    best = {
        method: np.array([_best(scores, target, front) for target in scores.targets])
        for method, front in found.items()
    }
    leads = {method: (own - best[LINEAR]).tolist() for method, own in best.items() if method != LINEAR}
    return sorted(leads.items(), key=lambda item: -float(np.mean(item[1])))


def _best(scores: Scores, target: str, front: dict[str, Any]) -> float:
    """The best target score on a line where the others are no worse than the base's."""
    points = [scores.outcome(target, np.array(each)) for each in front["scores"]]
    return max(point.target for point in points if point.forgetting >= -1e-9)


def read_fronts(study: Study) -> dict[str, dict[str, Any]]:
    """What `fronts` has written, by method."""
    paths = sorted((study.work / "fronts").glob("*.json"))
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in paths}
