"""Every merging method with its defaults on two really tuned experts: does the result still retrieve?

    python eval/methods/on_real_experts.py --work FOLDER -o eval/results/methods.json

Models and collections are those of `embedmerge demo`: MiniLM as the base, one expert tuned hard on torch's
docstrings (the target), one on scipy's. Each method merges both twice: as its paper has it (experts alike,
the base not, λ = 1), and with a third for each of the three (λ = 2/3): for `linear` the uniform average.
Nothing is chosen by these scores: they show that a method is sound, not which one is best.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import time
from pathlib import Path
from statistics import fmean
from typing import Any

import yaml

from embedmerge.api import evaluate, merge
from embedmerge.cli.console import Screen
from embedmerge.demo.assets import prepare
from embedmerge.lock import library_versions
from embedmerge.merging.registry import methods
from embedmerge.retrieval.settings import EncodingSettings
from embedmerge.sources import SourceSpec

SHARES = {"paper": (0.0, 0.5, 0.5), "third": (1 / 3, 1 / 3, 1 / 3)}
SETTINGS = EncodingSettings(precision="auto", max_seq_length=128)


def main() -> None:
    """Merge, score, print a row per method, write the record."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True, help="scratch folder; finished rows stay there")
    parser.add_argument("--only", help="one method")
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    with Screen() as screen:
        recipe = prepare(screen).recipe
    demo = yaml.safe_load(recipe.read_text(encoding="utf-8"))
    sources = [SourceSpec("base", str(recipe.parent / demo["base"]), "base")] + [
        SourceSpec(each["name"], str(recipe.parent / each["path"]), each["role"]) for each in demo["experts"]
    ]
    tasks = {
        side: [str(recipe.parent / task) for task in demo["evaluation"][side]]
        for side in ("target", "general")
    }
    text = recipe.parent / demo["weighting"]["examples"]
    rows = {source.name: scored(source.path, tasks) for source in sources}
    for name in [options.only] if options.only else methods():
        for shares in SHARES:
            rows[f"{name} {shares}"] = row(name, shares, sources, tasks, text, options.work)
    for name, each in rows.items():
        print(
            f"{name:32} target {each['target']:5.1f}  general {each['general']:5.1f}  {each.get('cpu_s', '')}"
        )
    if options.output:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        record = {"versions": library_versions(), "peak_memory_mib": peak, "rows": rows}
        options.output.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def row(
    name: str, shares: str, sources: list[SourceSpec], tasks: dict[str, list[str]], text: Path, work: Path
) -> dict[str, Any]:
    """One method's scores, from the scratch folder where they are there."""
    kept = work / f"{name}-{shares}.json"
    if not kept.exists():
        content = scored_merge(name, SHARES[shares], sources, tasks, text, work / "merged")
        kept.write_text(json.dumps(content), encoding="utf-8")
    return dict(json.loads(kept.read_text(encoding="utf-8")))


def scored_merge(
    name: str,
    shares: tuple[float, ...],
    sources: list[SourceSpec],
    tasks: dict[str, list[str]],
    text: Path,
    folder: Path,
) -> dict[str, Any]:
    """Merge, with as many experts as the method takes, and score."""
    shutil.rmtree(folder, ignore_errors=True)
    spec = methods()[name]
    experts = sources[1 : 1 + (spec.experts[1] or len(sources))]
    share = sum(shares[1:]) / len(experts)
    weights = [1 - share * len(experts), *[share] * len(experts)]
    began = time.process_time()
    merge([sources[0], *experts], weights, folder, method=name, texts=text if spec.statistics else None)
    seconds = time.process_time() - began
    found = scored(str(folder), tasks)
    shutil.rmtree(folder)
    return {**found, "weights": weights, "cpu_s": round(seconds, 1)}


def scored(model: str, tasks: dict[str, list[str]]) -> dict[str, Any]:
    """Mean nDCG@10 on the target and on the general collections."""
    (found,) = evaluate([model], tasks, settings=SETTINGS)  # type: ignore[arg-type]
    return {side: fmean(score.ndcg_at_10 for score in found.scores if score.side == side) for side in tasks}


if __name__ == "__main__":
    main()
