"""A weight for each block against one for all, base and fine-tune, with labels and without."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import numpy as np
from pools import drawn, read_pool
from testing import Tests, World

from embedmerge.atomic import write_json, write_text
from embedmerge.merging.coefficients import Coefficients
from embedmerge.weighting.blocks import Blocks
from embedmerge.weighting.strategy import Evidence

if TYPE_CHECKING:
    from pathlib import Path

    from outcomes import Scores
    from study import Study

EXAMPLES = 100  # so few as five cannot be split into learning and deciding
TEXTS = 512
POOL = "iso_cts"
VARIANTS = {"with labels": False, "without labels": True}


def blocks(study: Study) -> None:
    """What is learned for each target, whether it is taken, and if so what both come to on the test sets."""
    for target in study.setting.targets:
        for variant, unlabelled in VARIANTS.items():
            path = study.work / "blocks" / f"{target}, {variant}.json"
            if not path.exists():
                found = learned(study, target, unlabelled=unlabelled)
                write_json(path, found)
                print(target, variant, found["note"], flush=True)


def learned(study: Study, target: str, *, unlabelled: bool) -> dict[str, Any]:
    """One choice."""
    sources = study.sources(target)
    examples = drawn(read_pool(study, target), EXAMPLES, study.setting.seeds[0])
    texts = {target: str(unlabelled_texts(study, target))} if unlabelled else None
    strategy = Blocks(examples="drawn", texts=texts)
    began, cpu = time.perf_counter(), time.process_time()
    choice = strategy.choose(Evidence(sources, examples, study.forgetful(sources)))
    assert choice.selection
    found: dict[str, Any] = {
        "note": choice.selection.notes[-1],
        "taken": bool(choice.coefficients.by_tensor),
        "weights": choice.coefficients.weights,
        "by_tensor": choice.coefficients.by_tensor,
        "seconds": round(time.perf_counter() - began),
        "cpu_s": round(time.process_time() - cpu),
    }
    if found["taken"]:
        tests = Tests(study, World((target,), pool=POOL))  # of which the merge counts nothing
        front = Coefficients(choice.coefficients.weights)
        for name, coefficients in (("front", front), ("blocks", choice.coefficients)):
            found[name] = tests.true_scores_of(coefficients).tolist()
    return found


def unlabelled_texts(study: Study, target: str) -> Path:
    """A file of a domain's documents."""
    path = study.work / "blocks" / f"{target}.jsonl"
    if not path.exists():
        _, _, train = study.training_rows(target)
        rows = [json.dumps({"text": text}, ensure_ascii=False) for text in list(train.texts.values())[:TEXTS]]
        write_text(path, "\n".join(rows) + "\n")
    return path


def block_table(study: Study, scores: Scores) -> str:
    """By how much weights by block are better than one weight for all, where they were taken."""
    lines = ["| target | variant | on held-out examples | target | others |", "|---" * 5 + "|"]
    for target in study.setting.targets:
        for variant in VARIANTS:
            path = study.work / "blocks" / f"{target}, {variant}.json"
            if not path.exists():
                continue
            found = json.loads(path.read_text(encoding="utf-8"))
            better = [""] * 2
            if found["taken"]:
                front, own = (scores.outcome(target, np.array(found[name])) for name in ("front", "blocks"))
                better = [f"{own.target - front.target:+.2f}", f"{own.others - front.others:+.2f}"]
            lines.append(f"| {target} | {variant} | {found['note']} | {' | '.join(better)} |")
    return "\n".join(lines)
