"""What choosing weights costs: mixtures scored per second, whole choices, and the naive way beside it.

    python eval/benchmarks/weighting.py --work FOLDER -o eval/results/weighting_speed.json

Three parts, all three where `--parts` does not say otherwise:

rate    nDCG@10 of thousands of mixtures from the surrogate, on made-up features; a few mixtures the plain
        way (mix the embeddings, normalise, multiply) beside it.
weigh   `embedmerge.api.weigh` with strategy `front` on the demo's MiniLM and experts, 100 examples, and the
        guard text that comes with embedmerge: with an empty embedding cache, and with everything cached.
naive   Merge, load, encode and score each of `--naive` mixtures, against the surrogate's choice among the
        same ones, and its choice among the whole front. Times for more mixtures than were measured are
        extrapolated, and say so.

Every measured part is a process of its own. What is finished stays in the work folder, so that an interrupted
run goes on, unless the code has changed. With `-o`, markdown and a plot are written beside the record.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from weighting_record import markdown, plot
from weighting_verdicts import ASKED, RECORDED, enough_from, medians, readings, summed, verdicts, worth

PARTS = ("rate", "weigh", "naive")
PACKAGES = ("embedmerge", "numpy", "torch", "transformers", "sentence-transformers")
PRECISIONS = ("auto", "fp32")
EXAMPLES, GUARDED = 100, 500
TRIED = 10  # mixtures of the naive way without a record
DECIMALS = 4  # of the weights, as a choice has them
MIB = 1 << 20


@dataclass(frozen=True)
class Bench:
    """Runs jobs as processes, and keeps what they give.

    Attributes:
        work: Folder for results and scratch.
        repeats: How often a job is run.
    """

    work: Path
    repeats: int

    def repeated(self, name: str, job: str, settings: dict[str, Any], *, cached: bool = False) -> list[Any]:
        """Results of a job that starts with an empty embedding cache each time.

        Args:
            name: Of the kept results.
            job: In `weighting_jobs.py`.
            settings: Its arguments.
            cached: Whether each run is followed by one with everything in the cache; results then are pairs.
        """
        results = []
        for repeat in range(self.repeats):
            kept = [self.work / f"{name}-{turn}-{repeat}.json" for turn in ("first", "again")[: 1 + cached]]
            if not all(path.exists() for path in kept):
                cache = self.work / "cache"
                shutil.rmtree(cache, ignore_errors=True)
                for path in kept:
                    path.unlink(missing_ok=True)
                    self.once(path, job, settings, cache)
                shutil.rmtree(cache, ignore_errors=True)
            results.append([json.loads(path.read_text(encoding="utf-8")) for path in kept])
        return results if cached else [result for (result,) in results]

    def once(self, kept: Path, job: str, settings: dict[str, Any], cache: Path | None = None) -> Any:
        """The kept result of a job, which is run where there is none.

        Args:
            kept: File of the result.
            job: In `weighting_jobs.py`.
            settings: Its arguments.
            cache: embedmerge's cache folder; the user's where None.
        """
        if kept.exists():
            return json.loads(kept.read_text(encoding="utf-8"))
        asked, found = self.work / "asked.json", self.work / "found.json"
        asked.write_text(json.dumps({**settings, "began": time.time()}), encoding="utf-8")
        command = [
            sys.executable,
            str(Path(__file__).with_name("weighting_jobs.py")),
            job,
            str(asked),
            str(found),
        ]
        environment = {**os.environ, **({"EMBEDMERGE_CACHE": str(cache)} if cache else {})}
        began = time.perf_counter()
        process = subprocess.Popen(command, env=environment)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - began
        if status:
            raise SystemExit(f"{job}: the process failed with status {status}; its words are above")
        whole = {
            "wall_s": wall,
            "cpu_s": usage.ru_utime + usage.ru_stime,
            "peak_mib": usage.ru_maxrss * 1024 / MIB,
        }
        result = {**json.loads(found.read_text(encoding="utf-8")), "process": whole}
        kept.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
        print(
            f"{kept.stem:28} {whole['cpu_s']:8.1f} CPU-s {wall:8.1f} s {whole['peak_mib']:7.0f} MiB",
            flush=True,
        )
        return result


def main() -> None:
    """Run the parts, print what was found, write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--work", type=Path, required=True, help="scratch folder; finished results stay there"
    )
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--repeats", type=int, default=3, help="of every job but the naive one")
    parser.add_argument(
        "--naive",
        type=int,
        help=f"mixtures of the naive way; {RECORDED} with -o, else {TRIED}",
    )
    parser.add_argument("--mixtures", type=int, default=2048, help="mixtures of part `rate`")
    parser.add_argument("--queries", type=int, default=ASKED["queries"], help="queries of part `rate`")
    parser.add_argument("--examples", type=int, default=EXAMPLES)
    parser.add_argument("--guarded", type=int, default=GUARDED, help="guard texts at most")
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=PRECISIONS)
    parser.add_argument("-o", "--output", type=Path, help="JSON; .md and .png are written beside it")
    options = parser.parse_args()
    work = options.work.resolve() / f"{code_digest()}-{options.examples}-{options.guarded}"
    work.mkdir(parents=True, exist_ok=True)
    bench = Bench(work, options.repeats)
    record: dict[str, Any] = {"versions": versions(), "machine": machine(), "repeats": options.repeats}
    if "rate" in options.parts:
        record["rate"] = rate(bench, options.mixtures, options.queries)
    if {"weigh", "naive"} & set(options.parts):
        prepared = bench.once(
            bench.work / "inputs.json", "prepare", {"folder": str(bench.work), "examples": options.examples}
        )
        record["inputs"] = {key: prepared[key] for key in ("number", "passages")}
        inputs = {**{key: prepared[key] for key in ("sources", "examples")}, "guarded": options.guarded}
    if "weigh" in options.parts:
        record["weigh"] = [row for name in options.precisions for row in weigh(bench, inputs, name)]
    if "naive" in options.parts:
        record["naive"] = compared(bench, inputs, options.naive or (RECORDED if options.output else TRIED))
    record["verdicts"] = list(verdicts(record))
    text = markdown(record, options.output.with_suffix(".png").name if options.output else None)
    print("\n" + text)
    if options.output:
        options.output.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        options.output.with_suffix(".md").write_text(text, encoding="utf-8")
        if "naive" in record:
            plot(record, options.output.with_suffix(".png"))


def code_digest() -> str:
    """Of the package and of what is measured, so that results of different code are never mixed."""
    package = Path(__file__).parents[2] / "embedmerge"
    files = [*sorted(package.rglob("*.py")), Path(__file__).with_name("weighting_jobs.py")]
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:12]


def rate(bench: Bench, mixtures: int, queries: int) -> dict[str, Any]:
    """Part `rate`: medians over the repeats."""
    settings = {
        "mixtures": mixtures,
        "queries": queries,
        "candidates": ASKED["candidates"],
        "dimension": ASKED["dimension"],
    }
    runs = bench.repeated(f"rate-{mixtures}x{queries}", "rate", settings)
    spent = medians(run["spent"] for run in runs)
    number, plain = runs[0]["mixtures"], runs[0]["plain_mixtures"]
    return {
        **settings,
        "per_second": number / spent["surrogate"]["wall_s"],
        "per_cpu_second": number / spent["surrogate"]["cpu_s"],
        "plain_mixtures": plain,
        "plain_per_second": plain / spent["plain"]["wall_s"],
        "plain_per_cpu_second": plain / spent["plain"]["cpu_s"],
        "quadratic_forms": spent["quadratic forms"],
        "peak_mib": statistics.median(run["process"]["peak_mib"] for run in runs),
        "largest_difference": max(run["largest_difference"] for run in runs),
    }


def weigh(bench: Bench, inputs: dict[str, Any], precision: str) -> list[dict[str, Any]]:
    """Part `weigh`: one row with an empty cache, one with everything cached; medians over the repeats."""
    pairs = bench.repeated(
        f"weigh-{precision}", "weigh", {"inputs": inputs, "precision": precision}, cached=True
    )
    rows = []
    for turn, what in enumerate(("whole", "cached")):
        runs = [pair[turn] for pair in pairs]
        rows.append(
            {
                "what": what,
                "precision": precision,
                "bf16": runs[0]["bf16"],
                "process": medians([{"process": run["process"]} for run in runs])["process"],
                "weigh": medians(run["spent"] for run in runs)["weigh"],
                **{key: runs[0][key] for key in ("weights", "rounds", "encodes", "guarded")},
            }
        )
    return rows


def compared(bench: Bench, inputs: dict[str, Any], number: int) -> dict[str, Any]:
    """Part `naive`: its times, ours, and what both choices are worth by a true encode."""
    mixtures = drawn(number)
    settings = {"inputs": inputs, "precision": "auto"}
    ours = {
        "listed": bench.repeated(f"listed-{number}", "choose", {**settings, "mixtures": mixtures}),
        "front": bench.repeated("front", "choose", {**settings, "mixtures": []}),
    }
    began, looked_at = looped(bench, f"naive-{number}", "naive", settings, mixtures)
    picks = {name: [float(weight) for weight in runs[0]["weights"]] for name, runs in ours.items()}
    _, (_, *front) = looped(
        bench,
        f"front-looked-at-{digest(picks['front'])}",
        "looked-at",
        settings,
        [mixtures[0], picks["front"]],
    )
    per_mixture = {
        part: {
            key: statistics.fmean(each["spent"][part][key] for each in looked_at)
            for key in ("wall_s", "cpu_s")
        }
        for part in looked_at[0]["spent"]
    }
    own = {name: summary(runs) for name, runs in ours.items()}
    naive = {
        "measured": number,
        "texts": began["texts"],
        "bf16": began["bf16"],
        "start": began["spent"]["start"],
        "per_mixture": per_mixture,
        "whole_per_mixture": summed(per_mixture.values()),
        "peak_mib": began["process"]["peak_mib"],
    }
    return {
        "naive": naive,
        "ours": own,
        "budget": began["budget"],
        "looked_at": [{key: each[key] for key in ("weights", "target", "general")} for each in looked_at],
        "picks": list(worth(looked_at, picks["listed"], front[0], began["budget"])),
        "readings": list(readings(naive, own)),
        "enough_from": enough_from(naive, own["front"]),
    }


def drawn(number: int) -> list[list[float]]:
    """The base, and mixtures of three sources, denser near the base; fewer are the first of more."""
    rng = np.random.default_rng(0)
    far, towards = rng.random((number - 1, 2)).T
    far = far**2  # drawn evenly from the simplex, most would be below the floor
    tuned = np.column_stack([far * towards, far * (1 - towards)]).round(DECIMALS)
    shares = np.column_stack([(1 - tuned.sum(axis=1)).round(DECIMALS), tuned])
    return [[1.0, 0.0, 0.0], *shares.tolist()]


def looped(
    bench: Bench, name: str, journal: str, settings: dict[str, Any], mixtures: list[list[float]]
) -> tuple[Any, list[Any]]:
    """What the naive process says of itself, and its entry for each mixture."""
    folder = bench.work / journal if journal == "naive" else bench.work / name
    folder.mkdir(exist_ok=True)
    whole = bench.once(
        bench.work / f"{name}.json", "naive", {**settings, "mixtures": mixtures, "journal": str(folder)}
    )
    entries = [
        json.loads((folder / f"{place:04}.json").read_text(encoding="utf-8"))
        for place in range(len(mixtures))
    ]
    return whole, entries


def digest(weights: list[float]) -> str:
    """Weights as part of a file's name."""
    return "-".join(f"{weight:g}" for weight in weights)


def summary(runs: list[Any]) -> dict[str, Any]:
    """Medians over repeats of a choice."""
    spent = medians(run["spent"] for run in runs)
    return {
        **{key: runs[0][key] for key in ("weights", "mixtures", "encodes_before", "encodes", "rounds")},
        "spent": spent,
        "whole": medians({"whole": summed(run["spent"].values())} for run in runs)["whole"],
        "scoring": medians({"scoring": run["scoring"]} for run in runs)["scoring"],
        "peak_mib": statistics.median(run["process"]["peak_mib"] for run in runs),
    }


def versions() -> dict[str, str]:
    """Versions of whoever took part."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # embedmerge, run from a checkout that is not installed
            continue
    return found


def machine() -> str:
    """Cores and Python."""
    return f"{len(os.sched_getaffinity(0))} cores, Python {platform.python_version()}"


if __name__ == "__main__":
    main()
