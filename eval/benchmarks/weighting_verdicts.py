"""What the measured seconds and qualities of `weighting.py` mean against what was asked."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

RECORDED = 50  # mixtures of the naive way with a record
ASKED = {"rate": 1000, "queries": 1000, "candidates": 100, "dimension": 384, "cached_s": 20, "whole_s": 90}
ASKED_TIMES, ASKED_REGRET = 50, 0.2


def worth(
    looked_at: list[Any], listed: list[float], front: dict[str, Any], budget: float
) -> Iterable[dict[str, Any]]:
    """True quality of every choice; regret is to the best measured mixture above the floor."""
    above = [each for each in looked_at if each["general"] >= -budget]
    best = max(above, key=lambda each: each["target"])
    own = min(looked_at, key=lambda each: float(np.abs(np.subtract(each["weights"], listed)).sum()))
    named = {
        f"naive, best of {len(looked_at)}": best,
        f"embedmerge, same {len(looked_at)}": own,
        "embedmerge, whole front": front,
        "base": looked_at[0],
    }
    for who, each in named.items():
        yield {
            "who": who,
            "weights": each["weights"],
            "target": each["target"],
            "general": each["general"],
            "kept": each["general"] >= -budget,
            "regret": best["target"] - each["target"],
        }


def readings(naive: dict[str, Any], own: dict[str, Any]) -> Iterable[dict[str, Any]]:
    """How many times faster, by what one may mean by it."""
    measured, front = naive["measured"], own["front"]["mixtures"]
    each, scoring = naive["whole_per_mixture"], own["front"]["scoring"]
    yield reading("one more mixture, once encoded", 1, each, scaled(scoring, 1 / front))
    yield reading(
        "the same mixtures scored, encodes not counted",
        measured,
        whole(naive, measured),
        own["listed"]["scoring"],
    )
    yield reading(
        "a choice among the same mixtures, all counted",
        measured,
        whole(naive, measured),
        own["listed"]["whole"],
    )
    if measured < RECORDED:
        more = scaled(own["listed"]["scoring"], (RECORDED - measured) / measured)
        yield reading(
            f"a choice among {RECORDED}, all counted",
            RECORDED,
            whole(naive, RECORDED),
            summed([own["listed"]["whole"], more]),
            extrapolated=True,
        )
    yield reading(
        "a choice among all that the front looks at, all counted",
        front,
        whole(naive, front),
        own["front"]["whole"],
        extrapolated=True,
    )


def reading(
    what: str, mixtures: int, naive: dict[str, float], ours: dict[str, float], *, extrapolated: bool = False
) -> dict[str, Any]:
    """One row."""
    return {
        "what": what,
        "mixtures": mixtures,
        "naive": naive,
        "ours": ours,
        "times_cpu": naive["cpu_s"] / ours["cpu_s"],
        "times_wall": naive["wall_s"] / ours["wall_s"],
        "extrapolated": extrapolated,
        "holds": naive["cpu_s"] / ours["cpu_s"] >= ASKED_TIMES,
    }


def whole(naive: dict[str, Any], mixtures: int) -> dict[str, float]:
    """Seconds of the naive way for so many mixtures, its start included."""
    return summed([naive["start"], scaled(naive["whole_per_mixture"], mixtures)])


def enough_from(naive: dict[str, Any], front: dict[str, Any]) -> int | None:
    """Mixtures from which on a choice with everything counted takes as many times less CPU as asked."""
    scoring = front["scoring"]["cpu_s"] / front["mixtures"]
    fixed = front["whole"]["cpu_s"] - front["scoring"]["cpu_s"]
    gained = naive["whole_per_mixture"]["cpu_s"] - ASKED_TIMES * scoring
    return int(np.ceil((ASKED_TIMES * fixed - naive["start"]["cpu_s"]) / gained)) if gained > 0 else None


def verdicts(record: dict[str, Any]) -> Iterable[dict[str, Any]]:
    """Against what was asked."""
    if "rate" in record:
        found = record["rate"]["per_second"]
        size = (
            f"{record['rate']['queries']:,} queries x {ASKED['candidates']} candidates x {ASKED['dimension']}"
        )
        yield verdict(
            "mixtures per second", f"{ASKED['rate']:,} at {size}", f"{found:,.0f}", found >= ASKED["rate"]
        )
    for row in record.get("weigh", []):
        limit = ASKED["whole_s"] if row["what"] == "whole" else ASKED["cached_s"]
        what = "whole `weigh`" if row["what"] == "whole" else "choosing after the encodes"
        seconds = row["process"]["wall_s"]
        yield verdict(
            f"{what}, {'bf16' if row['bf16'] else 'fp32'}",
            f"under {limit} s",
            f"{seconds:.1f} s",
            seconds < limit,
        )
    for row in record.get("naive", {}).get("readings", []):
        note = ", extrapolated" if row["extrapolated"] else ""
        yield verdict(
            f"{row['what']} ({row['mixtures']:,}{note})",
            f"{ASKED_TIMES} times less CPU",
            f"{row['times_cpu']:,.1f} times",
            row["holds"],
        )
    for row in record.get("naive", {}).get("picks", [])[1:3]:
        equal = row["kept"] and row["regret"] <= ASKED_REGRET
        floor = "" if row["kept"] else ", below the floor"
        yield verdict(
            f"regret of {row['who']}", f"{ASKED_REGRET} nDCG@10", f"{row['regret']:.2f}{floor}", equal
        )


def verdict(what: str, asked: str, found: str, holds: bool) -> dict[str, Any]:
    """One row."""
    return {"what": what, "asked": asked, "found": found, "holds": bool(holds)}


def medians(runs: Iterable[dict[str, dict[str, float]]]) -> dict[str, dict[str, float]]:
    """Part by part and unit by unit."""
    listed = list(runs)
    return {
        part: {unit: statistics.median(run[part][unit] for run in listed) for unit in units}
        for part, units in listed[0].items()
    }


def summed(parts: Iterable[dict[str, float]]) -> dict[str, float]:
    """Wall and CPU seconds together."""
    listed = list(parts)
    return {unit: sum(part[unit] for part in listed) for unit in ("wall_s", "cpu_s")}


def scaled(part: dict[str, float], by: float) -> dict[str, float]:
    """Wall and CPU seconds so many times."""
    return {unit: by * part[unit] for unit in ("wall_s", "cpu_s")}
