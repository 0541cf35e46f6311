"""BGE-M3's further heads: merged like the encoder, and read back by FlagEmbedding itself."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file as load_safetensors
from safetensors.torch import save_file as save_safetensors

from embedmerge.api import merge
from embedmerge.checkpoint.lineage import file_sha256
from embedmerge.sources import SourceSpec
from embedmerge.verification import replay, verify

WEIGHTS = (0.2, 0.5, 0.3)
TEXTS = ["how do i merge two models", "court law judge", "a river and a bank loan"]
WIDTH = 32
FILES = {"colbert_linear.pt": (WIDTH, WIDTH), "sparse_linear.pt": (1, WIDTH)}


@pytest.fixture
def family(make_checkpoint, make_expert):
    """Three models as FlagEmbedding saves BGE-M3: an XLM-R with CLS pooling and two heads beside it."""
    base = make_checkpoint("m3-base", arch="xlm-roberta", pooling="cls", hidden=WIDTH)
    experts = [make_expert(f"m3-{seed}", base=base, seed=seed, scale=0.1) for seed in (1, 2)]
    for seed, folder in enumerate((base, *experts)):
        generator = torch.Generator().manual_seed(seed)
        for file, shape in FILES.items():
            state = {
                "weight": torch.randn(shape, generator=generator),
                "bias": torch.rand(shape[0], generator=generator),
            }
            torch.save(state, folder / file)
    return [base, *experts]


def merged(family, target, weights=WEIGHTS, **options):
    names = ("base", "legal", "code")
    roles = ("base", "target", "peer")
    specs = [SourceSpec(*one) for one in zip(names, map(str, family), roles, strict=False)]
    return merge(specs, list(weights), target, **options)


def in_memory(family, target, weights=WEIGHTS):
    """The base's folder with averages by torch in the place of its weights."""
    shutil.copytree(family[0], target)

    def average(load, file):
        states = [load(folder / file) for folder in family]
        return {
            name: sum(weight * state[name] for weight, state in zip(weights, states, strict=True))
            for name in states[0]
        }

    state = average(load_safetensors, "model.safetensors")
    save_safetensors(state, target / "model.safetensors", metadata={"format": "pt"})
    for file in FILES:
        torch.save(average(torch.load, file), target / file)
    return target


def encoded(folder: Path):
    from FlagEmbedding import BGEM3FlagModel

    model = BGEM3FlagModel(str(folder), use_fp16=False, devices="cpu")
    return model.encode(TEXTS, return_dense=True, return_sparse=True, return_colbert_vecs=True, max_length=48)


def test_flag_embedding_gives_the_mixtures_dense_sparse_and_multi_vector_outputs(family, tmp_path):
    merged(family, tmp_path / "out")
    found, wanted = encoded(tmp_path / "out"), encoded(in_memory(family, tmp_path / "wanted"))
    np.testing.assert_allclose(found["dense_vecs"], wanted["dense_vecs"], atol=1e-5)
    for ours, theirs in zip(found["colbert_vecs"], wanted["colbert_vecs"], strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
    for ours, theirs in zip(found["lexical_weights"], wanted["lexical_weights"], strict=True):
        assert ours.keys() == theirs.keys()
        assert ours
        np.testing.assert_allclose(list(ours.values()), list(theirs.values()), atol=1e-4)
    base = encoded(family[0])
    assert np.abs(found["colbert_vecs"][0] - base["colbert_vecs"][0]).max() > 0.01
    assert found["lexical_weights"] != base["lexical_weights"]


@pytest.mark.parametrize("method", ["task_arithmetic", "ties", "tsv_m"])
def test_heads_go_through_every_method(family, tmp_path, method):
    merged(family, tmp_path / "out", (0.0, 0.5, 0.5), method=method)
    head = torch.load(tmp_path / "out" / "colbert_linear.pt", weights_only=True)
    assert head["weight"].shape == (WIDTH, WIDTH)
    assert torch.isfinite(head["weight"]).all()
    assert not torch.equal(head["weight"], torch.load(family[0] / "colbert_linear.pt")["weight"])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_heads_are_rounded_to_the_output_type(family, tmp_path, dtype):
    merged(family, tmp_path / "out", dtype=dtype)
    head = torch.load(tmp_path / "out" / "sparse_linear.pt", weights_only=True)
    assert {value.dtype for value in head.values()} == {getattr(torch, dtype)}
    states = [torch.load(folder / "sparse_linear.pt") for folder in family]
    exact = sum(weight * state["weight"] for weight, state in zip(WEIGHTS, states, strict=True))
    assert torch.allclose(head["weight"].float(), exact, atol=2e-2)


def test_a_head_that_an_expert_lacks_is_the_bases_bit_for_bit(family, tmp_path):
    (family[1] / "sparse_linear.pt").unlink()
    warnings = merged(family, tmp_path / "out").warnings
    assert any("has no sparse_linear.pt" in warning for warning in warnings)
    head = torch.load(tmp_path / "out" / "sparse_linear.pt", weights_only=True)
    own = torch.load(family[0] / "sparse_linear.pt", weights_only=True)
    assert all(torch.equal(head[name], own[name]) for name in own)


def test_a_head_without_elements_stays_one(family, tmp_path):
    for folder in family:
        torch.save({"weight": torch.ones(0, WIDTH)}, folder / "sparse_linear.pt")
    merged(family, tmp_path / "out")
    head = torch.load(tmp_path / "out" / "sparse_linear.pt", weights_only=True)
    assert head["weight"].shape == (0, WIDTH)


def test_heads_are_recorded_verified_and_replayed(family, tmp_path):
    done = merged(family, tmp_path / "out")
    for file in FILES:
        assert done.sha256[file] == file_sha256(tmp_path / "out" / file)
    verification = verify(tmp_path / "out")
    assert verification.is_sound
    assert replay(verification).is_same
    again = merged(family, tmp_path / "again")
    assert again.sha256 == done.sha256
