"""The study's pictures: one panel per target, others across and target up."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
from choose import LM_ALL, LM_TWO, OURS
from fronts import LINEAR, ahead_of_linear, read_fronts

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from outcomes import Scores
    from study import Study

MARKS = {
    LM_TWO: ("tab:red", "s"),
    LM_ALL: ("tab:orange", "s"),
    **dict(
        zip(
            OURS,
            [
                ("tab:blue", "o"),
                ("tab:cyan", "o"),
                ("navy", "o"),
                ("tab:green", "D"),
                ("tab:olive", "^"),
                ("tab:brown", "^"),
                ("darkgoldenrod", "^"),
                ("limegreen", "^"),
                ("deeppink", "P"),
                ("crimson", "P"),
                ("black", "P"),
                ("tab:purple", "v"),
                ("violet", "v"),
            ],
            strict=True,
        )
    ),
}
LINES = {"linear": "tab:blue", "iso_linear": "tab:green"}
NAMED = 5  # methods that get a colour


def plot_rows(scores: Scores, path: Path) -> None:
    """Every draw of every row, and the lines from the base to the fine-tune."""
    figure = plt.figure(figsize=(16, 8.5), layout="constrained")
    for target, axis in _panels(figure, scores):
        for method, lines in scores.lines.items():
            points = [scores.outcome(target, np.array(each)) for each in lines[target]]
            others, own = [point.others for point in points], [point.target for point in points]
            label = f"base to fine-tune, {method}"
            axis.plot(others, own, color=LINES[method], lw=1, alpha=0.7, label=label, zorder=1)
        for row, (colour, mark) in MARKS.items():
            found = scores.outcomes(row, None, target)
            if found:
                others, own = [each.others for each in found], [each.target for each in found]
                axis.scatter(others, own, c=colour, marker=mark, s=26, alpha=0.75, label=row)
    _finish(figure, path)


def plot_fronts(study: Study, scores: Scores, path: Path) -> None:
    """The line of each merging method's merge of all experts, its scale swept from the base."""
    found = read_fronts(study)
    if not found:
        return
    best = [method for method, _ in ahead_of_linear(found, scores)][:NAMED]
    colours = dict(zip(best, plt.get_cmap("tab10").colors, strict=False))
    figure = plt.figure(figsize=(16, 8.5), layout="constrained")
    for target, axis in _panels(figure, scores):
        for method, front in found.items():
            points = [scores.outcome(target, np.array(each)) for each in front["scores"]]
            others, own = [point.others for point in points], [point.target for point in points]
            if method == LINEAR:
                axis.plot(others, own, color="black", lw=2, label=method, zorder=3)
            elif method in colours:
                axis.plot(others, own, color=colours[method], lw=1.6, label=method, zorder=2)
            else:
                axis.plot(others, own, color="0.78", lw=0.8, zorder=1)
        if set(found) - {LINEAR, *colours}:
            axis.plot([], [], color="0.78", label="other methods")
    _finish(figure, path)


def _panels(figure: Figure, scores: Scores) -> Iterator[tuple[str, Axes]]:
    """A panel for each target, with base and fine-tune marked."""
    columns = min(4, len(scores.targets))
    rows = -(-len(scores.targets) // columns)
    for place, target in enumerate(scores.targets, 1):
        axis = figure.add_subplot(rows, columns, place)
        for name, mark, label in (("base", "*", "base"), (target, "X", "fine-tuned")):
            point = scores.outcome(target, scores.alone[name])
            axis.plot(point.others, point.target, mark, color="black", ms=11, ls="", label=label, zorder=4)
        axis.set_title(target)
        axis.grid(alpha=0.25)
        if place > len(scores.targets) - columns:
            axis.set_xlabel("others, mean nDCG@10")
        if place % columns == 1:
            axis.set_ylabel("target, nDCG@10")
        yield target, axis


def _finish(figure: Figure, path: Path) -> None:
    labelled = {
        label: handle
        for axis in figure.axes
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)
    }
    figure.legend(labelled.values(), labelled.keys(), loc="outside lower center", ncols=5, fontsize=9)
    figure.savefig(path, dpi=90)
    plt.close(figure)
