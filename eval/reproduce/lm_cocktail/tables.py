"""The study's tables, from what the other stages have left."""

from __future__ import annotations

import json
from collections import defaultdict
from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np
from blocks import block_table
from ceilings import LOSSES
from choose import LM_ALL, LM_TWO, OURS
from fronts import front_table
from hindsight import hindsight_table
from outcomes import Outcome, Scores, first_examples, gain_kept, verdict
from plots import plot_fronts, plot_rows
from scales import scale_table
from testing import SHARES, true_file

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from study import Study


def tables(study: Study) -> None:
    """Write `study.md` and the plots into the scratch folder."""
    scores = Scores(study)
    parts = [summary(scores), by_target(scores), against_reference(scores)]
    parts += [by_kind(study, scores), weights_table(scores), off_truth(study, scores)]
    parts.append(ceilings(scores))
    if scores.triangles:
        parts.append(hindsight_table(scores))
    if (study.work / "reach.json").exists():
        parts.append(by_budget(study, scores))
    parts.append(front_table(study, scores))
    for folder, table in (("blocks", block_table), ("scales", scale_table)):
        if list((study.work / folder).glob("*.json")):
            parts.append(table(study, scores))
    (study.work / "study.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    print("\n\n".join(parts))
    plot_rows(scores, study.work / "study.png")
    plot_fronts(study, scores, study.work / "fronts.png")


def summary(scores: Scores) -> str:
    """Means over the targets."""
    lines = [
        "| row | examples | draws | target | gain kept, % | others | to the base | seconds | encodes |",
        "|---" * 9 + "|",
    ]
    for name, weights in (("base", "base"), ("fine-tuned", None)):
        found = [scores.outcome(target, scores.alone[weights or target]) for target in scores.targets]
        lines.append(_line(name, "", [found], "", ""))
    lines.append(_row(scores, LM_TWO, 0))
    lines.append(_row(scores, LM_ALL, first_examples(scores, LM_ALL)))
    lines += [
        _row(scores, row, size) for row in OURS for size in sorted(scores.sizes) if scores.of_row(row, size)
    ]
    return "\n".join(lines)


def _row(scores: Scores, row: str, examples: int) -> str:
    by_draw = zip(*(scores.outcomes(row, examples, target) for target in scores.targets), strict=True)
    choices = scores.of_row(row, examples)
    seconds = f"{np.median([choice['seconds'] for choice in choices]):.1f}"
    encodes = f"{fmean(choice['encodes'] for choice in choices):.0f}"
    return _line(row, str(examples or ""), [list(draw) for draw in by_draw], seconds, encodes)


def _line(name: str, examples: str, draws: Sequence[Sequence[Outcome]], seconds: str, encodes: str) -> str:
    cells = [
        str(len(draws)),
        _cell([fmean(outcome.target for outcome in draw) for draw in draws], 1),
        _cell([gain_kept(draw) for draw in draws], 0),
        _cell([fmean(outcome.others for outcome in draw) for draw in draws], 1),
        _cell([fmean(outcome.forgetting for outcome in draw) for draw in draws], 2),
    ]
    return f"| {name} | {examples} | {' | '.join(cells)} | {seconds} | {encodes} |"


def _cell(means: Sequence[float], digits: int) -> str:
    """Mean and standard deviation over draws."""
    spread = f" ± {np.std(means, ddof=1):.{digits}f}" if len(means) > 1 else ""
    return f"{fmean(means):.{digits}f}{spread}"


def by_target(scores: Scores) -> str:
    """Target and others of each row, target by target."""
    examples = scores.sizes[0]
    rows = [(LM_TWO, 0), (LM_ALL, first_examples(scores, LM_ALL))]
    rows += [(row, examples) for row in scores.there(examples)]
    lines = [
        f"| target | base | fine-tuned | {' | '.join(row for row, _ in rows)} |",
        "|---" * (3 + len(rows)) + "|",
    ]
    for target in scores.targets:
        cells = [
            scores.outcome(target, scores.alone["base"]),
            scores.outcome(target, scores.alone[target]),
            *(Outcome.mean(scores.outcomes(row, size, target)) for row, size in rows),
        ]
        lines.append(f"| {target} | " + " | ".join(f"{c.target:.1f} / {c.others:.1f}" for c in cells) + " |")
    return "\n".join(lines)


def against_reference(scores: Scores) -> str:
    """On how many targets each of our rows is ahead of, or dominated by, each of LM_Cocktail's."""
    examples = scores.sizes[0]
    lines = ["| row | against | ahead on both or on one by a point | dominated |", "|---|---|---|---|"]
    for row in scores.there(examples):
        for reference in (LM_TWO, LM_ALL):
            tally: dict[str, list[str]] = defaultdict(list)
            for target in scores.targets:
                ours = Outcome.mean(scores.outcomes(row, examples, target))
                theirs = Outcome.mean(scores.outcomes(reference, None, target))
                tally[verdict(ours, theirs)].append(target)
            lines.append(
                f"| {row} | {reference} | {len(tally['ahead'])} of {len(scores.targets)} | "
                f"{', '.join(tally['dominated']) or 'none'} |"
            )
    return "\n".join(lines)


def by_kind(study: Study, scores: Scores) -> str:
    """Points to the base: at the worst target, on peers' domains, on collections that nobody tuned on."""
    strangers = study.setting.others
    heads = ["worst target's others", "peers' domains", "nobody's", *strangers]
    lines = [f"| row | {' | '.join(heads)} |", "|---" * (1 + len(heads)) + "|"]
    found = {"fine-tuned": {target: scores.alone[target] for target in scores.targets}}
    for row in (LM_TWO, LM_ALL, *OURS):
        chosen = scores.of_row(row, first_examples(scores, row)) if scores.of_row(row) else []
        if chosen:
            found[row] = {
                target: np.mean([each["scores"] for each in chosen if each["target"] == target], axis=0)
                for target in scores.targets
            }
    places = [scores.sets.index(name) for name in strangers]
    for row, own_scores in found.items():
        moved = {target: own - scores.alone["base"] for target, own in own_scores.items()}
        worst = min(scores.outcome(target, own).forgetting for target, own in own_scores.items())
        peers = fmean(
            float(moved[target][scores.sets.index(peer)])
            for target in scores.targets
            for peer in scores.targets
            if peer != target
        )
        alone = np.mean([own[places] for own in moved.values()], axis=0)
        cells = [worst, peers, float(alone.mean()), *alone.tolist()]
        lines.append(f"| {row} | {' | '.join(f'{cell:+.2f}' for cell in cells)} |")
    return "\n".join(lines)


def weights_table(scores: Scores) -> str:
    """The first draw's weights of the sources that got any, where few are weighed."""
    rows = [row for row in scores.there(scores.sizes[0]) if OURS[row].experts == "target"]
    lines = [f"| target | {' | '.join(rows)} |", "|---" * (1 + len(rows)) + "|"]
    for target in scores.targets:
        cells = []
        for row in rows:
            first = next(each for each in scores.of_row(row, scores.sizes[0]) if each["target"] == target)
            cells.append(
                ", ".join(f"{name} {weight:.2f}" for name, weight in first["weights"].items() if weight)
            )
        lines.append(f"| {target} | {' | '.join(cells)} |")
    return "\n".join(lines)


def ceilings(scores: Scores) -> str:
    """Gain kept by the best mixture that keeps the others, as only the test sets themselves can tell."""
    heads = [*(f"2 models, {method}" for method in scores.lines), *scores.ceilings]
    lines = [f"| others at most below the base | {' | '.join(heads)} |", "|---" * (1 + len(heads)) + "|"]
    for place, loss in enumerate(LOSSES):
        cells = []
        for of_targets in scores.lines.values():
            found = [_best_of_line(scores, target, of_targets[target], loss) for target in scores.targets]
            cells.append(f"{gain_kept(found):.0f} %")
        alone = [(target, scores.outcome(target, scores.alone[target])) for target in scores.targets]
        for best in scores.ceilings.values():
            gains = sum(best[target][place] - (each.target - each.gain) for target, each in alone)
            cells.append(f"{100 * gains / sum(each.gain for _, each in alone):.0f} %")
        lines.append(f"| {loss:.1f} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _best_of_line(scores: Scores, target: str, line: Sequence[Sequence[float]], loss: float) -> Outcome:
    points = [scores.outcome(target, np.array(each)) for each in line]
    allowed = [point for point in points if point.forgetting >= -loss - 1e-9]
    return max(allowed, key=lambda point: point.target)


def by_budget(study: Study, scores: Scores) -> str:
    """What each budget of the guard would have come to, the whole of it being spent."""
    reach = json.loads((study.work / "reach.json").read_text(encoding="utf-8"))
    heads = [f"{method}: gain kept, % | others" for method in reach["shares"]]
    lines = [f"| budget, nats | {' | '.join(heads)} |", "|---" * (1 + 2 * len(heads)) + "|"]
    for place, budget in enumerate(reach["budgets"]):
        cells = []
        for method, shares in reach["shares"].items():
            found = [
                _at_share(scores, target, scores.lines[method][target], shares[target][place])
                for target in scores.targets
            ]
            cells.append(f"{gain_kept(found):.0f} | {fmean(each.forgetting for each in found):+.2f}")
        lines.append(f"| {budget} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _at_share(scores: Scores, target: str, line: Sequence[Sequence[float]], share: float) -> Outcome:
    by_set = [np.interp(share, SHARES, values) for values in np.transpose(line)]
    return scores.outcome(target, np.array(by_set))


def off_truth(study: Study, scores: Scores) -> str:
    """How far the surrogate was off for the mixtures that were really merged and encoded, row by row."""
    errors: dict[str, dict[Path, NDArray[np.float64]]] = defaultdict(dict)
    true_outcomes: dict[str, dict[str, Outcome]] = defaultdict(dict)
    for choice in scores.choices:
        path = true_file(study, choice)
        if path.exists():
            true = json.loads(path.read_text(encoding="utf-8"))["scores"]
            errors[choice["row"]][path] = np.array(choice["scores"]) - true
            true_outcomes[choice["row"]][choice["target"]] = scores.outcome(choice["target"], np.array(true))
    lines = [
        "| row | encoded | off on a set, mean | at most | mean of sets, expected minus true "
        "| truly: gain kept, % | others |",
        "|---" * 7 + "|",
    ]
    for row, by_mixture in errors.items():
        gaps = list(by_mixture.values())
        sizes = np.abs(gaps)
        means = np.mean(gaps, axis=1)
        lines.append(
            f"| {row} | {len(gaps)} | {sizes.mean():.2f} | {sizes.max():.2f} | "
            f"{means.min():+.2f} to {means.max():+.2f} | {_truly(true_outcomes[row], len(scores.targets))} |"
        )
    return "\n".join(lines)


def _truly(found: dict[str, Outcome], targets: int) -> str:
    """Gain kept and others, where all targets were encoded."""
    if len(found) < targets:
        return " | "
    outcomes = list(found.values())
    return f"{gain_kept(outcomes):.0f} | {fmean(each.forgetting for each in outcomes):+.2f}"
