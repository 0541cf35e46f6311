from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

pytest.importorskip("onnxruntime", reason="extra onnx")
pytest.importorskip("openvino", reason="extra openvino")
pytest.importorskip("onnxscript", reason="extra onnx")

from test_encoder import TEXTS, model

from embedmerge.errors import EmbedmergeError
from embedmerge.recipe import parse_recipe
from embedmerge.retrieval.cache import EmbeddingCache
from embedmerge.retrieval.encoder import Encoder
from embedmerge.retrieval.settings import EncodingSettings

if TYPE_CHECKING:
    from pathlib import Path

RUNTIMES = ("onnx", "openvino")


@pytest.mark.parametrize("backend", RUNTIMES)
@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_vectors_are_those_of_torch(make_checkpoint, backend: str, pooling: str) -> None:
    folder = make_checkpoint("served", arch="xlm-roberta", pooling=pooling, prompts={"query": "what is "})
    ours = Encoder(model(folder), EncodingSettings(backend=backend))
    wanted = Encoder(model(folder)).embed(TEXTS, "what is ")
    np.testing.assert_allclose(ours.embed(TEXTS, "what is "), wanted, atol=2e-6)


@pytest.mark.parametrize("backend", RUNTIMES)
def test_the_number_of_threads_changes_no_bit(base: Path, backend: str) -> None:
    one, two = (
        Encoder(model(base), EncodingSettings(backend=backend, threads=threads, tokens_per_batch=64))
        for threads in (1, 2)
    )
    assert np.array_equal(one.embed(TEXTS), two.embed(TEXTS))


def test_another_pooling_is_taken_over_the_same_hidden_states(base: Path) -> None:
    found, wanted = (
        Encoder(model(base), EncodingSettings(backend=backend)).pooled(TEXTS, pooling="max")
        for backend in ("openvino", "torch")
    )
    np.testing.assert_allclose(found, wanted, atol=2e-5)


def test_openvino_has_bfloat16_of_its_own(base: Path) -> None:
    exact, rounded = (
        Encoder(model(base), EncodingSettings(precision, backend="openvino")).embed(TEXTS)
        for precision in ("fp32", "bf16")
    )
    off = 1 - (exact * rounded).sum(axis=1)
    assert off.max() < 0.01
    if torch.ops.mkldnn._is_mkldnn_bf16_supported():  # elsewhere OpenVINO may compute in float32
        assert not np.array_equal(exact, rounded)


def test_what_one_runtime_has_computed_is_not_taken_for_anothers(base: Path, tmp_path: Path) -> None:
    cache = EmbeddingCache(tmp_path / "cache")
    Encoder(model(base), cache=cache).embed(TEXTS)
    served, again = (Encoder(model(base), EncodingSettings(backend="onnx"), cache) for _ in range(2))
    first = served.embed(TEXTS)
    assert served.counts.encoded == len(set(TEXTS))
    assert np.array_equal(again.embed(TEXTS), first)
    assert not again.loaded


def test_auto_says_that_onnx_runtime_has_no_bfloat16(base: Path) -> None:
    choice = Encoder(model(base), EncodingSettings("auto", backend="onnx")).precision
    assert str(choice) == "fp32: ONNX Runtime has no bfloat16"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"backend": "tensorrt"}, "must be torch, onnx or openvino"),
        ({"backend": "onnx", "precision": "bf16"}, "has no bfloat16; take openvino"),
        ({"backend": "openvino", "device": "cuda:0"}, "not on cuda:0"),
        ({"backend": "onnx", "devices": ("cpu", "cpu")}, "not on cpu, cpu"),
    ],
)
def test_what_a_runtime_cannot_do_is_refused(settings: dict, message: str) -> None:
    with pytest.raises(EmbedmergeError, match=message):
        EncodingSettings(**settings)


def test_a_recipe_and_settings_say_at_once_that_a_library_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    says = r"onnxruntime is not installed; pip install 'embedmerge\[onnx\]'"
    with pytest.raises(EmbedmergeError, match=says):
        EncodingSettings(backend="onnx")
    with pytest.raises(EmbedmergeError, match=says):
        parse_recipe({"base": "base", "experts": ["legal"], "encoding": {"backend": "onnx"}})
