"""What every kind of index costs and finds: seconds, memory, file size, recall.

    python eval/benchmarks/index.py --work FOLDER -o eval/results/index.json

A million clustered vectors of 384 dimensions are written to a file once; each kind is then built from the
mapped file, searched and saved in a process of its own. Memory is the most that the process had allocated
(anonymous pages; those of the mapped file do not count) beyond what it had before it began. Recall is
against the exact index's answers, for queries drawn as the vectors are. mteb's own index is built from the
same file beside ours. `--vectors 100000` is a quick try.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from embedmerge.retrieval.index import KINDS, IndexSettings, VectorIndex
from embedmerge.retrieval.vectors import normalised, write_rows

if TYPE_CHECKING:
    from collections.abc import Iterator

DIMENSION = 384
QUERIES = 1000
CENTRES = 1000
BLOCK = 10_000
DEPTH = 100
MIB = 1 << 20
PACKAGES = ("faiss-cpu", "mteb", "numpy")
MTEB = "mteb FaissSearchIndex"
JOBS = (*(kind for kind in KINDS if kind != "auto"), MTEB)


def main() -> None:
    """Run every kind and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="scratch folder, kept for the next time")
    parser.add_argument("--vectors", type=int, default=1_000_000)
    parser.add_argument("--kinds", default=",".join(JOBS), help="exact first: recall is against its answers")
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    work = arguments.work / str(arguments.vectors)
    if arguments.one:
        print(json.dumps(measured(arguments.one, work)))
        return
    write_vectors(work, arguments.vectors)
    rows = []
    show_header()
    for kind in arguments.kinds.split(","):
        rows.append(in_own_process(kind, arguments))
        show(rows[-1])
        if arguments.output:
            content = {"vectors": arguments.vectors, "versions": versions(), "machine": machine()}
            arguments.output.write_text(json.dumps({**content, "rows": rows}, indent=2) + "\n")


def write_vectors(work: Path, vectors: int) -> None:
    """The vectors and the queries, made once."""
    work.mkdir(parents=True, exist_ok=True)
    for name, rows, seed in (("vectors", vectors, 1), ("queries", QUERIES, 2)):
        if not (work / f"{name}.npy").exists():
            write_rows(work / f"{name}.unfinished", clustered(rows, seed), rows)
            (work / f"{name}.unfinished").rename(work / f"{name}.npy")


def clustered(rows: int, seed: int) -> Iterator[np.ndarray]:
    """Blocks of unit vectors around centres; what they vary in falls with the root of its place.

    Embeddings lie like this: few directions carry most of what differs.
    """
    shape = np.random.default_rng(0)
    scales = np.arange(1, DIMENSION + 1) ** -0.5
    axes = (scales[:, None] * np.linalg.qr(shape.standard_normal((DIMENSION, DIMENSION)))[0]).astype("f4")
    centres = shape.standard_normal((CENTRES, DIMENSION), dtype=np.float32)
    random = np.random.default_rng(seed)
    for start in range(0, rows, BLOCK):
        size = min(BLOCK, rows - start)
        spread = random.standard_normal((size, DIMENSION), dtype=np.float32)
        yield normalised((centres[random.integers(CENTRES, size=size)] + spread) @ axes)


def in_own_process(kind: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """One kind, measured by a process that does nothing else."""
    command = [sys.executable, __file__, "--work", str(arguments.work), "--vectors", str(arguments.vectors)]
    done = subprocess.run([*command, "--one", kind], stdout=subprocess.PIPE, check=True, text=True)
    row: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return row


def measured(kind: str, work: Path) -> dict[str, Any]:
    """Build, search, save."""
    vectors, queries = (np.load(work / f"{name}.npy", mmap_mode="r") for name in ("vectors", "queries"))
    ids = [f"d{row:07}" for row in range(len(vectors))]
    build, search = own_index(kind, work) if kind != MTEB else mteb_index()
    search_one = np.array(queries[:1])
    row: dict[str, Any] = {"kind": kind}
    with most_allocated(row):
        with timed(row, "build"):
            build(vectors, ids)
        with timed(row, "search"):
            found = search(queries, DEPTH)
        with timed(row, "one_query"):
            for _ in range(10):
                search(search_one, DEPTH)
    if kind == "exact":
        np.save(work / "true.npy", found)
    true = np.load(work / "true.npy")
    row |= {f"recall_at_{depth}": recall(true, found, depth) for depth in (10, DEPTH)}
    return row | saved(build, work / kind)


def own_index(kind: str, work: Path) -> tuple[Any, Any]:
    """How ours is built and searched."""
    index = VectorIndex(IndexSettings(kind))

    def search(queries: np.ndarray, k: int) -> np.ndarray:
        found = index.find(queries, k)
        return np.stack([np.pad(rows, (0, k - len(rows)), constant_values=-1) for rows, _ in found])

    return index.add, search


def mteb_index() -> tuple[Any, Any]:
    """How mteb's is built and searched."""
    from mteb.models.model_meta import ScoringFunction
    from mteb.models.search_encoder_index import FaissSearchIndex

    class Model:
        class mteb_model_meta:  # noqa: N801
            similarity_fn_name = ScoringFunction.COSINE

    index = FaissSearchIndex(Model)

    def search(queries: np.ndarray, k: int) -> np.ndarray:
        return np.array(index.search(np.array(queries), k, None)[1])

    return index.add_documents, search


def saved(build: Any, folder: Path) -> dict[str, Any]:
    """Size of the FAISS file, and what the index itself says of its recall."""
    index = getattr(build, "__self__", None)
    if not isinstance(index, VectorIndex):
        return {}
    index.save(folder)
    size = max(file.stat().st_size for file in folder.glob("*.faiss"))
    claimed = index.recall
    return {
        "file_mib": size / MIB,
        "claimed_at_10": claimed.at_10 if claimed else None,
        "claimed_at_100": claimed.at_100 if claimed else None,
    }


def recall(true: np.ndarray, found: np.ndarray, depth: int) -> float:
    """Mean share of the true ones that are found."""
    pairs = zip(true[:, :depth], found[:, :depth], strict=True)
    return float(np.mean([np.isin(wanted, rows).mean() for wanted, rows in pairs]))


@contextmanager
def timed(row: dict[str, Any], name: str) -> Iterator[None]:
    """Wall and CPU seconds of a block."""
    wall, cpu = time.perf_counter(), time.process_time()
    yield
    row[f"{name}_wall_s"] = time.perf_counter() - wall
    row[f"{name}_cpu_s"] = time.process_time() - cpu


@contextmanager
def most_allocated(row: dict[str, Any]) -> Iterator[None]:
    """The most anonymous memory in a block, beyond what there was before it."""
    before = allocated()
    peak, over = [before], threading.Event()

    def watch() -> None:
        while not over.wait(0.02):
            peak[0] = max(peak[0], allocated())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
    row["peak_mib"] = (peak[0] - before) / MIB


def allocated() -> int:
    """Anonymous memory of this process, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) * 1024
    raise OSError("no RssAnon in /proc/self/status")


def versions() -> dict[str, str]:
    """Versions of whoever took part."""
    return {name: version(name) for name in PACKAGES}


def machine() -> str:
    """Cores and Python."""
    return f"{len(os.sched_getaffinity(0))} cores, Python {platform.python_version()}"


def show_header() -> None:
    columns = "kind, build CPU-s, search CPU-s, one query CPU-ms, peak MiB, file MiB, R@10, R@100, claimed"
    print(f"| {columns.replace(', ', ' | ')} |")
    print("|---|---|---|---|---|---|---|---|---|", flush=True)


def show(row: dict[str, Any]) -> None:
    """One line of the table."""
    one = 1000 * row["one_query_cpu_s"] / 10
    file = f"{row['file_mib']:.0f}" if "file_mib" in row else ""
    claimed = f"{row['claimed_at_10']:.3f}, {row['claimed_at_100']:.3f}" if row.get("claimed_at_10") else ""
    print(
        f"| {row['kind']} | {row['build_cpu_s']:.1f} | {row['search_cpu_s']:.1f} | {one:.1f} "
        f"| {row['peak_mib']:.0f} | {file} | {row['recall_at_10']:.3f} | {row['recall_at_100']:.3f} "
        f"| {claimed} |",
        flush=True,
    )


if __name__ == "__main__":
    main()
