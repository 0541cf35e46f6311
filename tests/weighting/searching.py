"""Sources, examples and evidence for tests of searches."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors.numpy import load_file, save_file
from words import sentence

from embedmerge.retrieval.settings import EncodingSettings
from embedmerge.sources import SourceSpec, open_sources
from embedmerge.weighting.examples import read_examples
from embedmerge.weighting.strategy import Evidence, MethodChoice
from embedmerge.weighting.trial import Trials

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


class CountingTrials(Trials):
    """Notes which mixtures are really merged."""

    def __init__(self, *given: Any, **settings: Any) -> None:
        super().__init__(*given, **settings)
        self.merged: list[str] = []

    def _merge(self, mixture: Any, folder: Path) -> None:
        self.merged.append(f"{mixture.method} {mixture.coefficients.weights} {mixture.parameters}")
        super()._merge(mixture, folder)


def evidence_of(
    folders: Sequence[Path],
    examples: Path,
    *,
    method: MethodChoice | None = None,
    journal: Path | None = None,
    texts: Sequence[Any] = (),
) -> Evidence:
    """What a search of these sources looks at, the base first; no embedding is cached."""
    specs = [
        SourceSpec(folder.name, str(folder), "peer" if place else "base")
        for place, folder in enumerate(folders)
    ]
    sources, _ = open_sources(specs)
    trials = CountingTrials(sources, EncodingSettings(), None, texts)
    rows = read_examples(str(examples))
    return Evidence(sources, rows.examples, trials, rows.corpus, method or MethodChoice(), journal)


def merges(evidence: Evidence) -> list[str]:
    """The mixtures merged so far."""
    assert isinstance(evidence.trials, CountingTrials)
    return evidence.trials.merged


def write_texts(file: Path, number: int = 32, seed: int = 8) -> Path:
    """Unlabelled lines."""
    random = np.random.default_rng(seed)
    file.write_text("".join(sentence(random, 10) + "\n" for _ in range(number)))
    return file


def write_part_way(folder: Path, base: Path, expert: Path, share: float) -> Path:
    """A model on the straight line from the base to an expert."""
    shutil.copytree(base, folder)
    first, second = (load_file(each / "model.safetensors") for each in (base, expert))
    moved = {
        name: first[name] + np.float32(share) * (second[name] - first[name])
        if first[name].dtype == np.float32
        else first[name]
        for name in first
    }
    save_file(moved, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def write_mute(folder: Path, base: Path) -> Path:
    """A model that gives every text the same vector."""
    shutil.copytree(base, folder)
    tensors = load_file(folder / "model.safetensors")
    nothing = {name: np.zeros_like(values) for name, values in tensors.items()}
    save_file(nothing, folder / "model.safetensors", metadata={"format": "pt"})
    return folder
