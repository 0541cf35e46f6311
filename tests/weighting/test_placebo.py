from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from safetensors.numpy import load_file
from sentence_transformers import SentenceTransformer

from embedmerge.checkpoint.hub import locate
from embedmerge.checkpoint.layout import open_checkpoint
from embedmerge.weighting.placebo import write_placebo

if TYPE_CHECKING:
    from pathlib import Path

    Tensors = dict[str, np.ndarray]


def placebo(base: Path, mixture: Path, folder: Path, seed: int = 0) -> Tensors:
    first, second = (open_checkpoint(locate(str(one))) for one in (base, mixture))
    write_placebo(first, second, folder, seed)
    return load_file(folder / "model.safetensors")


def moved(tensors: Tensors, base: Tensors) -> Tensors:
    """Task vectors of the floating tensors, flat."""
    return {
        name: (own.astype(float) - base[name]).ravel()
        for name, own in tensors.items()
        if own.dtype.kind == "f"
    }


def test_every_tensor_goes_as_far_as_the_mixtures_and_elsewhere(
    base: Path, expert: Path, tmp_path: Path
) -> None:
    start = load_file(base / "model.safetensors")
    own = moved(load_file(expert / "model.safetensors"), start)
    found = moved(placebo(base, expert, tmp_path / "placebo"), start)
    assert found.keys() == own.keys()
    for name, step in found.items():
        assert np.linalg.norm(step) == pytest.approx(np.linalg.norm(own[name]), rel=1e-3)
        cosine = step @ own[name] / (np.linalg.norm(step) * np.linalg.norm(own[name]))
        assert abs(cosine) < 5 / np.sqrt(step.size)
    steps, others = (np.concatenate(list(each.values())) for each in (found, own))
    assert abs(steps @ others / (np.linalg.norm(steps) * np.linalg.norm(others))) < 0.05


def test_tensors_of_one_shape_go_different_ways(base: Path, expert: Path, tmp_path: Path) -> None:
    start = load_file(base / "model.safetensors")
    found = moved(placebo(base, expert, tmp_path / "placebo"), start)
    first, second = (found[f"encoder.layer.{layer}.attention.self.query.weight"] for layer in (0, 1))
    assert abs(first @ second / (np.linalg.norm(first) * np.linalg.norm(second))) < 0.2


def test_integers_and_types_are_the_mixtures(base: Path, expert: Path, tmp_path: Path) -> None:
    import shutil

    from safetensors.numpy import save_file

    pair = []
    for name, folder in (("base", base), ("expert", expert)):
        shutil.copytree(folder, tmp_path / name)
        tensors = load_file(folder / "model.safetensors")
        tensors["embeddings.position_ids"] = np.arange(66, dtype=np.int64)[None]
        if name == "expert":
            tensors = {
                key: value.astype(np.float16) if value.dtype.kind == "f" else value
                for key, value in tensors.items()
            }
        save_file(tensors, tmp_path / name / "model.safetensors", metadata={"format": "pt"})
        pair.append(tmp_path / name)
    found = placebo(*pair, tmp_path / "placebo")
    assert found.keys() == tensors.keys()
    np.testing.assert_array_equal(found["embeddings.position_ids"], np.arange(66)[None])
    assert {name: (own.dtype, own.shape) for name, own in found.items()} == {
        name: (own.dtype, own.shape) for name, own in tensors.items()
    }


def test_no_step_is_no_step(base: Path, tmp_path: Path) -> None:
    found = placebo(base, base, tmp_path / "placebo")
    for name, own in load_file(base / "model.safetensors").items():
        np.testing.assert_array_equal(found[name], own)


def test_it_is_a_model_that_loads(base: Path, expert: Path, tmp_path: Path) -> None:
    placebo(base, expert, tmp_path / "placebo")
    names = {path.relative_to(tmp_path / "placebo") for path in (tmp_path / "placebo").rglob("*")}
    assert names == {path.relative_to(expert) for path in expert.rglob("*")}
    texts = ["river bank", "a court of law"]
    model = SentenceTransformer(str(tmp_path / "placebo"), device="cpu")
    vectors = model.encode(texts)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert np.abs(vectors - SentenceTransformer(str(base), device="cpu").encode(texts)).max() > 1e-3


def test_the_direction_is_seeded(base: Path, expert: Path, tmp_path: Path) -> None:
    placebo(base, expert, tmp_path / "first")
    placebo(base, expert, tmp_path / "same")
    other = placebo(base, expert, tmp_path / "other", seed=1)
    bytes_of = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("first", "same")]
    assert bytes_of[0] == bytes_of[1]
    start = load_file(base / "model.safetensors")
    first = moved(load_file(tmp_path / "first" / "model.safetensors"), start)
    for name, step in moved(other, start).items():
        norms = np.linalg.norm(step) * np.linalg.norm(first[name])
        assert abs(step @ first[name] / norms) < 5 / np.sqrt(step.size)
