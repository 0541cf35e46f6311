"""How far to go from the base towards a merge of all experts, chosen on examples."""

from __future__ import annotations

import json
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np
from choose import LM_ALL, LM_TWO
from fronts import LINEAR, read_fronts
from outcomes import Outcome, gain_kept, verdict
from pools import drawn, guard_task, read_pool

from embedmerge.atomic import write_json
from embedmerge.weighting.front import Front
from embedmerge.weighting.guard import Guard
from embedmerge.weighting.strategy import Evidence
from embedmerge.weighting.survey import Survey

if TYPE_CHECKING:
    from outcomes import Scores
    from study import Study

CHOSEN = ("iso_cts", LINEAR)


def scales(study: Study) -> None:
    """How far to go towards a merge of all experts, by examples of the target and labels of other domains."""
    for method in CHOSEN:
        path = study.work / "scales" / f"{method}.json"
        if path.exists():
            continue
        found = {target: chosen_scale(study, method, target) for target in study.setting.targets}
        write_json(path, found)
        print(method, found, flush=True)


def chosen_scale(study: Study, method: str, target: str) -> float:
    """What `front` picks on the line from the base through the merge, from the first draw of examples."""
    examples = drawn(read_pool(study, target), study.setting.sizes[0], study.setting.seeds[0])
    guard = Guard(tasks=tuple(guard_task(study, name) for name in study.setting.targets if name != target))
    strategy = Front(examples="drawn", guard=guard)
    sources = study.sources(pool=method)
    survey = Survey(strategy, Evidence(sources, examples, study.trials(sources)))
    judged = sum(len(ground.queries) for ground in guard.grounds())
    return float(strategy.pick(survey.judge((np.arange(len(examples)), np.arange(judged))))[1])


def scale_table(study: Study, scores: Scores) -> str:
    """What the chosen scales came to, and on how many targets that is ahead of LM_Cocktail."""
    lines = [
        "| method | scales | target | gain kept, % | others | worst "
        f"| ahead of {LM_TWO} | ahead of {LM_ALL} |",
        "|---" * 8 + "|",
    ]
    for path in sorted((study.work / "scales").glob("*.json")):
        chosen = json.loads(path.read_text(encoding="utf-8"))
        found = _at_scales(scores, read_fronts(study)[path.stem], chosen)
        lost = [each.forgetting for each in found.values()]
        cells = [
            path.stem,
            f"{min(chosen.values()):.2f} to {max(chosen.values()):.2f}",
            f"{fmean(each.target for each in found.values()):.1f}",
            f"{gain_kept(list(found.values())):.0f}",
            f"{fmean(lost):+.2f}",
            f"{min(lost):+.2f}",
            *(_tally(scores, found, reference) for reference in (LM_TWO, LM_ALL)),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _at_scales(scores: Scores, front: dict[str, Any], chosen: dict[str, float]) -> dict[str, Outcome]:
    by_set = np.transpose(front["scores"])
    return {
        target: scores.outcome(target, np.array([np.interp(scale, front["scales"], own) for own in by_set]))
        for target, scale in chosen.items()
    }


def _tally(scores: Scores, found: dict[str, Outcome], reference: str) -> str:
    verdicts = [
        verdict(ours, Outcome.mean(scores.outcomes(reference, None, target)))
        for target, ours in found.items()
    ]
    return f"{verdicts.count('ahead')} of {len(verdicts)}, dominated on {verdicts.count('dominated')}"
