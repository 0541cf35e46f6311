"""The record of `weighting.py` as markdown and as a plot."""

from __future__ import annotations

from textwrap import wrap
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WIDTH = 110
OURS, THEIRS = "#1b6e53", "#b9bec4"


def markdown(record: dict[str, Any], picture: str | None) -> str:
    """All that was found, in words and tables.

    Args:
        record: As `weighting.py` writes it.
        picture: File name of the plot; None for none.
    """
    lines = [
        "# What choosing weights costs",
        "",
        "    python eval/benchmarks/weighting.py --work FOLDER -o eval/results/weighting_speed.json",
        "",
        *_paragraph(
            f"Processes one after the other in one run on {record['machine']}; median of",
            f"{record['repeats']}, the naive way once. Sources are the demo's: MiniLM, one expert tuned hard",
            "on torch's docstrings, one on scipy's. bf16 is autocast with texts cut at 128 tokens, fp32 what",
            "`weigh` does by default.",
        ),
        *_table(
            ["", "asked", "found", ""],
            [[row["what"], row["asked"], row["found"], _said(row["holds"])] for row in record["verdicts"]],
        ),
    ]
    for part, words in (("rate", _rate), ("weigh", _weigh), ("naive", _naive)):
        if part in record:
            lines += words(record)
    if picture and "naive" in record:
        lines += [f"![Seconds to a choice, and all mixtures by their true quality]({picture})", ""]
    lines.append(", ".join(f"{name} {number}" for name, number in record["versions"].items()) + ".")
    return "\n".join(lines) + "\n"


def _rate(record: dict[str, Any]) -> list[str]:
    rate = record["rate"]
    forms = rate["quadratic_forms"]
    return [
        "## Mixtures scored per second",
        "",
        *_paragraph(
            f"nDCG@10 of {rate['mixtures']:,} mixtures of three sources and three midpoints, made-up",
            f"features, {rate['queries']:,} queries with {rate['candidates']} candidates each,",
            f"{rate['dimension']} dimensions, two threads.",
        ),
        *_table(
            ["", "per second", "per CPU second"],
            [
                ["**surrogate**", f"{rate['per_second']:,.0f}", f"{rate['per_cpu_second']:,.0f}"],
                [
                    f"mixed embeddings, normalised and multiplied ({rate['plain_mixtures']} mixtures)",
                    f"{rate['plain_per_second']:,.1f}",
                    f"{rate['plain_per_cpu_second']:,.1f}",
                ],
            ],
        ),
        *_paragraph(
            f"The quadratic forms take {forms['wall_s']:.2f} s ({forms['cpu_s']:.2f} CPU-s) once. Both ways",
            f"agree within {rate['largest_difference']:.4f} points of nDCG@10 on every mixture that both",
            f"scored. Peak memory {rate['peak_mib']:.0f} MiB.",
        ),
    ]


def _weigh(record: dict[str, Any]) -> list[str]:
    rows, inputs = record["weigh"], record["inputs"]
    return [
        "## Whole choices",
        "",
        *_paragraph(
            f"`embedmerge.api.weigh` with strategy `front`, three sources, {inputs['number']} examples",
            f"over {inputs['passages']} passages, {rows[0]['guarded']} guard texts; cross-validation,",
            "intervals and placebo included. Whole processes; the column `weigh` is the call alone.",
        ),
        *_table(
            ["", "precision", "wall s", "CPU-s", "`weigh` wall s", "peak MiB", "models encoded", "rounds"],
            [
                [
                    "embedding cache empty" if row["what"] == "whole" else "everything cached",
                    "bf16" if row["bf16"] else "fp32",
                    f"{row['process']['wall_s']:.1f}",
                    f"{row['process']['cpu_s']:.1f}",
                    f"{row['weigh']['wall_s']:.1f}",
                    f"{row['process']['peak_mib']:.0f}",
                    str(row["encodes"]),
                    str(row["rounds"]),
                ]
                for row in rows
            ],
        ),
        *_paragraph("The placebo is encoded besides, and a few texts at every edge's midpoint."),
    ]


def _naive(record: dict[str, Any]) -> list[str]:
    found = record["naive"]
    naive, listed, front = found["naive"], found["ours"]["listed"], found["ours"]["front"]
    above = sum(each["general"] >= -found["budget"] for each in found["looked_at"])
    parts = ", ".join(f"{name} {spent['cpu_s']:.2f}" for name, spent in naive["per_mixture"].items())
    return [
        "## Against the naive way",
        "",
        *_paragraph(
            f"Naive: merge to a folder, load with sentence-transformers, encode {naive['texts']:,} texts,",
            f"score, for each of {naive['measured']} mixtures;",
            f"{naive['whole_per_mixture']['cpu_s']:.2f} CPU-s each ({parts}), the same precision and length.",
            "Both choose the best nDCG@10 on the examples among",
            f"mixtures that diverge at most {found['budget']:g} nats from the base, as {above} of the",
            f"{naive['measured']} truly do. They are a seeded draw, denser near the base.",
        ),
        *_table(
            [
                "what is compared",
                "mixtures",
                "naive CPU-s",
                "ours CPU-s",
                "times, CPU",
                "times, wall",
                "50 times",
            ],
            [_compared(row) for row in found["readings"]],
        ),
        *_paragraph(*_which_reading(found)),
        *_table(
            ["choice", "weights", "true nDCG@10", "regret", "divergence, nats", "above the floor"],
            [_picked(row) for row in found["picks"]],
        ),
        *_paragraph(
            "Weights are base / torch / scipy. Regret is to the naive choice; below zero means better. Peak",
            f"memory: naive {naive['peak_mib']:.0f} MiB, ours {listed['peak_mib']:.0f} MiB among the same",
            f"mixtures, {front['peak_mib']:.0f} MiB among the front's.",
        ),
    ]


def _compared(row: dict[str, Any]) -> list[str]:
    return [
        row["what"],
        f"{row['mixtures']:,}",
        ("about " if row["extrapolated"] else "") + _seconds(row["naive"]["cpu_s"]),
        _seconds(row["ours"]["cpu_s"]),
        f"{row['times_cpu']:,.1f}",
        f"{row['times_wall']:,.1f}",
        _said(row["holds"]),
    ]


def _picked(row: dict[str, Any]) -> list[str]:
    return [
        row["who"],
        " / ".join(f"{weight:.2f}" for weight in row["weights"]),
        f"{row['target']:.2f}",
        f"{row['regret']:.2f}",
        f"{abs(row['general']):.4f}",
        "yes" if row["kept"] else "no",
    ]


def _which_reading(found: dict[str, Any]) -> Iterator[str]:
    measured, encodes = found["naive"]["measured"], found["ours"]["listed"]["encodes"]
    yield f'"About" is extrapolated: the start, and the mean of the {measured} measured mixtures so many'
    yield f"times. With everything counted, {measured} mixtures cost the naive way {measured} encodes and"
    yield f"ours {encodes} and the probes: were scoring free, it would be {measured / encodes:.1f} times."
    enough = found["enough_from"]
    if enough is None:
        yield "No number of mixtures makes it 50 times."
    else:
        yield f"By these numbers it is 50 times with everything counted from about {enough:,} mixtures on."
    holding = [row["what"] for row in found["readings"] if row["holds"]]
    missing = [row["what"] for row in found["readings"] if not row["holds"]]
    yield f"50 times holds for: {'; '.join(holding) or 'none'}."
    yield f"It does not for: {'; '.join(missing) or 'none'}."


def _paragraph(*parts: str) -> list[str]:
    return [*wrap(" ".join(parts), WIDTH, break_long_words=False, break_on_hyphens=False), ""]


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(line) + " |" for line in lines] + [""]


def _said(holds: bool) -> str:
    return "holds" if holds else "**missed**"


def _seconds(seconds: float) -> str:
    return f"{seconds:,.1f}" if seconds >= 1 else f"{seconds:.2g}"


def plot(record: dict[str, Any], path: Path) -> None:
    """CPU seconds to a choice by the number of mixtures, and every mixture's true quality.

    Args:
        record: As `weighting.py` writes it, with part `naive`.
        path: PNG to write.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, (seconds, quality) = pyplot.subplots(1, 2, figsize=(11, 4.2))
    _plot_seconds(seconds, record["naive"])
    _plot_quality(quality, record["naive"])
    for axis in (seconds, quality):
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(labelsize=8)
        axis.legend(fontsize=8, frameon=False)
    figure.tight_layout()
    figure.savefig(path, dpi=130)


def _plot_seconds(axis: Any, found: dict[str, Any]) -> None:
    naive, ours = found["naive"], found["ours"]
    measured, front = naive["measured"], ours["front"]["mixtures"]
    start, each = naive["start"]["cpu_s"], naive["whole_per_mixture"]["cpu_s"]
    inside, beyond = np.geomspace(1, measured), np.geomspace(measured, front)
    axis.plot(inside, start + each * inside, color="#6b7178", label="naive, measured")
    axis.plot(beyond, start + each * beyond, color="#6b7178", linestyle=":", label="naive, extrapolated")
    points = [(own["mixtures"], own["whole"]["cpu_s"]) for own in (ours["listed"], ours["front"])]
    axis.plot(*zip(*points, strict=True), color=OURS, marker="o", label="embedmerge, encodes included")
    axis.set(xscale="log", yscale="log", xlabel="mixtures looked at", ylabel="CPU seconds to a choice")


def _plot_quality(axis: Any, found: dict[str, Any]) -> None:
    looked_at = found["looked_at"]
    axis.scatter(
        [-each["general"] for each in looked_at],
        [each["target"] for each in looked_at],
        s=14,
        color=THEIRS,
        label=f"{len(looked_at)} mixtures, truly encoded",
    )
    axis.axvline(found["budget"], color="#6b7178", linewidth=0.8, linestyle=":", label="the floor")
    marks = (("s", "#6b7178"), ("o", OURS), ("*", OURS))
    for row, (marker, colour) in zip(found["picks"], marks, strict=False):
        axis.scatter(
            [-row["general"]],
            [row["target"]],
            s=70,
            marker=marker,
            facecolor="none",
            edgecolor=colour,
            label=row["who"],
        )
    axis.set(xlabel="divergence from the base, nats", ylabel="nDCG@10 on the examples")
