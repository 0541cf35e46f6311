"""One contestant of `encode.py`, in a process of its own.

    python eval/benchmarks/encode_jobs.py CONTESTANT MODEL TEXTS.json VECTORS.npy

Prints one line of JSON: seconds and CPU seconds of encoding alone, and memory before and at its peak.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil

if TYPE_CHECKING:
    from collections.abc import Callable

MIB = 1 << 20
MAX_LENGTH = 256  # all-MiniLM-L6-v2's own
WARM_UP = 8


def main() -> None:
    """Load, warm up, encode and say what it took."""
    contestant, model, texts_file, vectors_file = sys.argv[1:]
    texts = json.loads(Path(texts_file).read_text())
    name, _, argument = contestant.partition(":")
    started = time.process_time()
    encode = CONTESTANTS[name](model, argument, Path(vectors_file))
    encode(texts[:WARM_UP])
    load = time.process_time() - started
    before, cpu, wall = psutil.Process().memory_info().rss, time.process_time(), time.perf_counter()
    vectors = encode(texts)
    found = {"cpu_s": time.process_time() - cpu, "wall_s": time.perf_counter() - wall, "load_cpu_s": load}
    peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found |= {"before_mib": before / MIB, "peak_mib": peak / MIB}
    if not isinstance(vectors, np.memmap):
        np.save(vectors_file, np.asarray(vectors, dtype=np.float32))
    print(json.dumps(found))


def sentence_transformers(model: str, argument: str, _: Path) -> Callable[[list[str]], Any]:
    """`SentenceTransformer.encode`; the argument is a batch size, or `1t` for one thread."""
    import torch
    from sentence_transformers import SentenceTransformer

    loaded = SentenceTransformer(model, device="cpu")
    if argument == "1t":
        torch.set_num_threads(1)
    size = int(argument) if argument.isdigit() else 32
    return partial(loaded.encode, batch_size=size, show_progress_bar=False)


def flag_embedding(model: str, _: str, __: Path) -> Callable[[list[str]], Any]:
    """FlagEmbedding's `FlagModel` in float32, as its defaults have it otherwise."""
    from FlagEmbedding import FlagModel

    loaded = FlagModel(
        model, pooling_method="mean", use_fp16=False, devices="cpu", passage_max_length=MAX_LENGTH
    )
    return loaded.encode_corpus


def mteb_wrapper(model: str, _: str, __: Path) -> Callable[[list[str]], Any]:
    """The wrapper of mteb around sentence-transformers, with batches as its retrieval tasks make them."""
    import mteb
    from datasets import Dataset
    from mteb.models import SentenceTransformerEncoderWrapper
    from mteb.types import PromptType
    from sentence_transformers import SentenceTransformer
    from torch.utils.data import DataLoader

    wrapper = SentenceTransformerEncoderWrapper(SentenceTransformer(model, device="cpu"))
    metadata = mteb.get_task("SciFact").metadata

    def encode(texts: list[str]) -> Any:
        rows = DataLoader(Dataset.from_dict({"text": texts}), batch_size=32)
        return wrapper.encode(
            rows,
            task_metadata=metadata,
            hf_split="test",
            hf_subset="default",
            prompt_type=PromptType.document,
            batch_size=32,
            show_progress_bar=False,
        )

    return encode


def embedmerge(model: str, argument: str, out: Path) -> Callable[[list[str]], Any]:
    """Our encoder without a cache; the argument is precision, `openvino` for that, `out` to write a file."""
    from embedmerge.checkpoint.hub import locate
    from embedmerge.checkpoint.layout import open_checkpoint
    from embedmerge.retrieval.encoder import Encoder
    from embedmerge.retrieval.settings import EncodingSettings
    from embedmerge.sources import encoder_model

    precision, *further = argument.split(",")
    backend = "openvino" if "openvino" in further else "torch"
    settings = EncodingSettings(precision=precision, device="cpu", backend=backend)  # type: ignore[arg-type]
    encoder = Encoder(encoder_model(open_checkpoint(locate(model))), settings)
    return partial(encoder.embed, out=out if "out" in further else None)


CONTESTANTS = {
    "sentence-transformers": sentence_transformers,
    "FlagEmbedding": flag_embedding,
    "mteb": mteb_wrapper,
    "embedmerge": embedmerge,
}

if __name__ == "__main__":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TQDM_DISABLE", "1")
    os.environ["HF_HUB_OFFLINE"] = "1"
    main()
