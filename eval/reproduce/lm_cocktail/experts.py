"""One expert per domain, tuned from MiniLM with every weight free, hot enough to forget; and their merge."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from typing import TYPE_CHECKING

from embedmerge.api import merge
from embedmerge.atomic import write_json
from embedmerge.tuning import tune

if TYPE_CHECKING:
    from pathlib import Path

    from study import Study


def tune_experts(study: Study) -> dict[str, Path]:
    """Folders of all experts by domain; those that are there are not tuned again."""
    folders = {name: study.work / "experts" / name for name in study.setting.targets}
    for name, folder in folders.items():
        if folder.exists():
            continue
        pairs, _, _ = study.training_rows(name)
        began, cpu = time.perf_counter(), time.process_time()
        tune(study.base, [(pair.query, pair.document) for pair in pairs], folder, study.setting.tuning)
        record = {
            "pairs": len(pairs),
            "tuning": asdict(study.setting.tuning),
            "seconds": round(time.perf_counter() - began),
            "cpu_s": round(time.process_time() - cpu),
        }
        write_json(study.work / "experts" / f"{name}.json", record)
        print(name, json.dumps(record), flush=True)
    return folders


def merged_pool(study: Study, method: str) -> Path:
    """The folder of the merge of all experts by a method, with its own defaults."""
    folder = study.work / "merged" / method
    if not folder.exists():
        experts = study.setting.targets
        specs = [source.spec for source in study.sources(*experts)]
        merge(specs, [0.0] + [1 / len(experts)] * len(experts), folder, method=method)
    return folder


def anchor(study: Study, method: str) -> Path:
    """The folder of the model half-way from the base to that merge."""
    folder = study.work / "merged" / f"half-{method}"
    if not folder.exists():
        specs = [source.spec for source in study.sources(pool=method)]
        merge(specs, [0.5, 0.5], folder, dtype="float32")
    return folder
