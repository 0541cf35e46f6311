"""One merge through a peer's Python functions, as a process of its own: TOOL METHOD MODEL... OUT."""

from __future__ import annotations

import sys
from pathlib import Path


def sentence_transformers(method: str, models: list[str], out: str) -> None:
    """`SentenceTransformer.merge` and `save_pretrained`."""
    from sentence_transformers import SentenceTransformer

    base, *experts = models
    if method == "linear":
        parameters = {"weight": [0.5] * len(models)}
        merged = SentenceTransformer.merge(models, method=method, parameters=parameters)
    else:
        parameters = {"weight": [0.5] * len(experts), "density": [0.2] * len(experts)}
        merged = SentenceTransformer.merge(experts, method=method, base_model=base, parameters=parameters)
    merged.save_pretrained(out)


def cocktail(method: str, models: list[str], out: str) -> None:
    """`LM_Cocktail.mix_models` with given weights."""
    from LM_Cocktail import mix_models

    mix_models(
        model_names_or_paths=models,
        model_type="encoder",
        weights=[1 / len(models)] * len(models),
        output_path=out,
    )


def bare_loop(method: str, models: list[str], out: str) -> None:
    """The least that a hashed average costs here: read, hash, average, write, and no check of anything."""
    import hashlib
    import os

    import numpy as np

    readers = [os.open(Path(model) / "model.safetensors", os.O_RDONLY) for model in models]
    Path(out).mkdir()
    writer = os.open(Path(out) / "model.safetensors", os.O_CREAT | os.O_WRONLY)
    digests = [hashlib.sha256() for _ in (*models, out)]
    slices = [np.empty(1 << 16, np.float32) for _ in models]
    share = np.float32(1 / len(models))
    size = os.fstat(readers[0]).st_size
    header = 8 + int.from_bytes(os.pread(readers[0], 8, 0), "little")
    os.write(writer, os.pread(readers[0], header, 0))
    for place in range(header, size, slices[0].nbytes):
        read = [
            values[: os.preadv(reader, [values], place) // 4]
            for reader, values in zip(readers, slices, strict=True)
        ]
        for digest, values in zip(digests, read, strict=False):
            digest.update(values)
        merged = share * read[0]
        for values in read[1:]:
            merged += share * values
        digests[-1].update(merged)
        os.write(writer, merged)
    os.fsync(writer)


def plain_svd(method: str, models: list[str], out: str) -> None:
    """TSV-M as its paper writes it, with numpy's SVD throughout and all models in memory."""
    import numpy as np
    from safetensors.numpy import load_file, save_file

    base, *experts = [load_file(Path(model) / "model.safetensors") for model in models]
    merged = {}
    for name, values in base.items():
        changes = [expert[name] - values for expert in experts]
        if values.ndim == 2 and "embeddings" not in name:
            merged[name] = values + merged_singular_vectors(changes)
        else:
            merged[name] = values + np.mean(changes, axis=0)
    Path(out).mkdir()
    save_file(merged, Path(out) / "model.safetensors")


def merged_singular_vectors(changes: list) -> object:
    """`U⊥ Σ V⊥ᵀ` of the truncated decompositions side by side (arXiv 2412.00081, algorithm 1)."""
    import numpy as np

    kept = min(changes[0].shape) // len(changes)
    parts = [np.linalg.svd(change, full_matrices=False) for change in changes]
    left = np.concatenate([u[:, :kept] for u, _, _ in parts], axis=1)
    values = np.concatenate([s[:kept] for _, s, _ in parts])
    right = np.concatenate([v[:kept] for _, _, v in parts], axis=0)
    (p, _, q), (r, _, t) = (np.linalg.svd(side, full_matrices=False) for side in (left, right))
    return (p @ q) @ (values[:, None] * (r @ t))


if __name__ == "__main__":
    tool, method, *models, out = sys.argv[1:]
    tools = {"st": sentence_transformers, "cocktail": cocktail, "loop": bare_loop, "svd": plain_svd}
    tools[tool](method, models, out)
