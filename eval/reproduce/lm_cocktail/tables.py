"""The study's tables and plots, from what the other stages have left."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
from choose import ALL, LM_ALL, LM_TWO, OURS, TWO, WITHOUT, key_of
from domains import TARGETS
from fronts import read_fronts
from pools import SIZES

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from study import Study

EQUAL = 0.1  # points of the mean over the others that count as equal


@dataclass(frozen=True)
class Outcome:
    """A model on one target.

    Attributes:
        target: nDCG@10 on the target's test set.
        others: Mean over all other test sets.
        gain: Target minus the base's.
        gain_tuned: The fine-tune's own gain.
        forgetting: Others minus the base's.
    """

    target: float
    others: float
    gain: float
    gain_tuned: float
    forgetting: float


class Scores:
    """Scores of base, experts and choices on all sets."""

    def __init__(self, record: dict[str, Any]) -> None:
        self.sets: list[str] = record["sets"]
        self.alone = {name: np.array(scores) for name, scores in record["alone"].items()}
        self.choices: list[dict[str, Any]] = record["choices"]

    def outcome(self, target: str, scores: NDArray[np.float64]) -> Outcome:
        """What scores on all sets mean for one target."""
        own = self.sets.index(target)
        base, tuned = self.alone["base"], self.alone[target]
        others = float(np.delete(scores, own).mean())
        return Outcome(
            float(scores[own]),
            others,
            float(scores[own] - base[own]),
            float(tuned[own] - base[own]),
            others - float(np.delete(base, own).mean()),
        )

    def outcomes(self, row: str, examples: int | None, target: str) -> list[Outcome]:
        """One outcome per draw."""
        return [
            self.outcome(target, np.array(choice["scores"]))
            for choice in self.choices
            if choice["row"] == row and choice["target"] == target and examples in (None, choice["examples"])
        ]

    def there(self, examples: int) -> list[str]:
        """Our rows that have been chosen from so many examples."""
        found = {choice["row"] for choice in self.choices if choice["examples"] == examples}
        return [row for row in OURS if row in found]


def tables(study: Study) -> None:
    """Write `study.md` and the plots into the scratch folder."""
    scores = Scores(json.loads((study.work / "scores.json").read_text(encoding="utf-8")))
    parts = [summary(scores), by_target(scores), against_reference(scores), truth(study, scores)]
    (study.work / "study.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    print("\n\n".join(parts))
    plot_targets(scores, read_fronts(study), study.work / "study.png")


def summary(scores: Scores) -> str:
    """Means over the eight targets."""
    lines = ["| row | examples | target | gain kept, % | others | to the base |", "|---|---|---|---|---|---|"]
    for name, weights in (("base", "base"), ("fine-tuned", None)):
        found = [scores.outcome(target, scores.alone[weights or target]) for target in TARGETS]
        lines.append(_line(name, "", [found]))
    lines.append(_row(scores, LM_TWO, 0))
    lines.append(_row(scores, LM_ALL, 5))
    lines += [_row(scores, row, size) for row in OURS for size in SIZES if row in scores.there(size)]
    return "\n".join(lines)


def _row(scores: Scores, row: str, examples: int) -> str:
    by_draw = zip(*(scores.outcomes(row, examples, target) for target in TARGETS), strict=True)
    return _line(row, str(examples or ""), [list(draw) for draw in by_draw])


def _line(name: str, examples: str, draws: Sequence[Sequence[Outcome]]) -> str:
    cells = [
        _cell([fmean(outcome.target for outcome in draw) for draw in draws], 1),
        _cell([_gain_kept(draw) for draw in draws], 0),
        _cell([fmean(outcome.others for outcome in draw) for draw in draws], 1),
        _cell([fmean(outcome.forgetting for outcome in draw) for draw in draws], 2),
    ]
    return f"| {name} | {examples} | {' | '.join(cells)} |"


def _gain_kept(outcomes: Sequence[Outcome]) -> float:
    """Percent of the fine-tunes' gain, over all targets: on one alone it may be next to nothing."""
    return 100 * sum(each.gain for each in outcomes) / sum(each.gain_tuned for each in outcomes)


def _cell(means: Sequence[float], digits: int) -> str:
    """Mean and standard deviation over draws."""
    spread = f" ± {np.std(means, ddof=1):.{digits}f}" if len(means) > 1 else ""
    return f"{fmean(means):.{digits}f}{spread}"


def by_target(scores: Scores, examples: int = 20) -> str:
    """Target and others of each row, target by target."""
    rows = scores.there(examples)
    lines = [
        f"| target | base | fine-tuned | {' | '.join((LM_TWO, LM_ALL, *rows))} |",
        "|---" * (5 + len(rows)) + "|",
    ]
    for target in TARGETS:
        cells = [
            scores.outcome(target, scores.alone["base"]),
            scores.outcome(target, scores.alone[target]),
            _mean(scores.outcomes(LM_TWO, None, target)),
            _mean(scores.outcomes(LM_ALL, None, target)),
            *(_mean(scores.outcomes(row, examples, target)) for row in rows),
        ]
        lines.append(f"| {target} | " + " | ".join(f"{c.target:.1f} / {c.others:.1f}" for c in cells) + " |")
    return "\n".join(lines)


def _mean(outcomes: Sequence[Outcome]) -> Outcome:
    return Outcome(
        *(fmean(getattr(each, name) for each in outcomes) for name in Outcome.__dataclass_fields__)
    )


def against_reference(scores: Scores, examples: int = 20) -> str:
    """On how many targets each of our rows is ahead of, or dominated by, each of LM_Cocktail's."""
    lines = ["| row | against | ahead on both or on one by a point | dominated |", "|---|---|---|---|"]
    for row in scores.there(examples):
        for reference in (LM_TWO, LM_ALL):
            tally: dict[str, list[str]] = defaultdict(list)
            for target in TARGETS:
                ours = _mean(scores.outcomes(row, examples, target))
                theirs = _mean(scores.outcomes(reference, None, target))
                tally[_verdict(ours, theirs)].append(target)
            lines.append(
                f"| {row} | {reference} | {len(tally['ahead'])} of {len(TARGETS)} | "
                f"{', '.join(tally['dominated']) or 'none'} |"
            )
    return "\n".join(lines)


def _verdict(ours: Outcome, theirs: Outcome) -> str:
    target, others = ours.target - theirs.target, ours.others - theirs.others
    if (target > 0 and others > 0) or (target >= 1 and others > -EQUAL) or (others >= 1 and target > -EQUAL):
        return "ahead"
    return "dominated" if target <= 0 and others <= 0 else "neither"


def truth(study: Study, scores: Scores) -> str:
    """How far the surrogate was off for the mixtures that were really merged and encoded, row by row."""
    errors = defaultdict(list)
    for choice in scores.choices:
        path = study.work / "true" / f"{key_of(choice['weights'])}.json"
        if path.exists():
            true = json.loads(path.read_text(encoding="utf-8"))["scores"]
            errors[choice["row"]].append(np.array(choice["scores"]) - true)
    lines = [
        "| row | encoded | off on a set, mean | at most | mean of sets, expected minus true |",
        "|---|---|---|---|---|",
    ]
    for row, gaps in errors.items():
        sizes = np.abs(gaps)
        means = np.mean(gaps, axis=1)
        lines.append(
            f"| {row} | {len(gaps)} | {sizes.mean():.2f} | {sizes.max():.2f} | "
            f"{means.min():+.2f} to {means.max():+.2f} |"
        )
    return "\n".join(lines)


def plot_targets(scores: Scores, fronts: dict[str, dict[str, Any]], path: Path) -> None:
    """One panel per target: rows of the study, and the line of each merging method."""
    figure, axes = plt.subplots(2, 4, figsize=(20, 10), layout="constrained")
    styles = {
        LM_TWO: ("tab:red", "s"),
        LM_ALL: ("tab:orange", "s"),
        TWO: ("tab:blue", "o"),
        ALL: ("tab:green", "o"),
        WITHOUT: ("tab:purple", "o"),
    }
    for axis, target in zip(axes.ravel(), TARGETS, strict=True):
        for method, front in fronts.items():
            points = [scores.outcome(target, np.array(each)) for each in front["scores"]]
            style = {"color": "black", "lw": 2} if method == "linear" else {"color": "0.75", "lw": 0.8}
            axis.plot([p.others for p in points], [p.target for p in points], label=method, **style)
        for name, mark in (("base", "k*"), (target, "kX")):
            point = scores.outcome(target, scores.alone[name])
            axis.plot(
                point.others, point.target, mark, ms=12, label="base" if name == "base" else "fine-tuned"
            )
        for row, (colour, mark) in styles.items():
            found = scores.outcomes(row, None, target)
            axis.scatter(
                [o.others for o in found], [o.target for o in found], c=colour, marker=mark, s=18, label=row
            )
        axis.set_title(target)
        axis.set_xlabel("others, nDCG@10")
        axis.set_ylabel("target, nDCG@10")
    handles, labels = axes.ravel()[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=9, fontsize=8)
    figure.savefig(path, dpi=80)
