"""One expert per domain, tuned from MiniLM with every weight free and hot enough to forget."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from typing import TYPE_CHECKING

from domains import OTHERS, TARGETS, tested_queries, training_rows

from embedmerge.atomic import write_json
from embedmerge.tuning import Tuning, tune

if TYPE_CHECKING:
    from pathlib import Path

# As hot as in the trial that lost eight points elsewhere (150 steps at 4e-4), and a little shorter.
TUNING = Tuning(steps=120, batch_size=32, learning_rate=4e-4, max_seq_length=128, seed=0)


def tune_experts(base: Path, data: Path, work: Path) -> dict[str, Path]:
    """Folders of all experts by domain; those that are there are not tuned again."""
    folders = {name: work / "experts" / name for name in TARGETS}
    if all(folder.exists() for folder in folders.values()):
        return folders
    tested = tested_queries((*TARGETS, *OTHERS), data, work)
    for name, folder in folders.items():
        if folder.exists():
            continue
        pairs, _, _ = training_rows(name, data, work, tested)
        began, cpu = time.perf_counter(), time.process_time()
        tune(base, [(pair.query, pair.document) for pair in pairs], folder, TUNING)
        record = {
            "pairs": len(pairs),
            "tuning": asdict(TUNING),
            "seconds": round(time.perf_counter() - began),
            "cpu_s": round(time.process_time() - cpu),
        }
        write_json(work / "experts" / f"{name}.json", record)
        print(name, json.dumps(record), flush=True)
    return folders
