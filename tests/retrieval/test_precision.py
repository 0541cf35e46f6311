from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from embedmerge.checkpoint.hub import locate
from embedmerge.checkpoint.layout import open_checkpoint
from embedmerge.retrieval import settings as settings_module
from embedmerge.retrieval.cache import EmbeddingCache
from embedmerge.retrieval.encoder import Encoder
from embedmerge.retrieval.probe import TOLERANCE, Agreement, probe_texts
from embedmerge.retrieval.settings import EncoderModel, EncodingSettings
from embedmerge.sources import encoder_model

if TYPE_CHECKING:
    from pathlib import Path

TEXTS = ["river water", "code function loop", ""]


@pytest.fixture(autouse=True)
def native(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings_module, "native_bf16", lambda: True)


@pytest.fixture(scope="module")
def fragile(make_expert, base: Path) -> Path:
    """A model whose inner values share an offset that leaves bfloat16 no digits for their differences."""
    from safetensors.numpy import load_file, save_file

    folder = make_expert("fragile", base=base)
    tensors = load_file(folder / "model.safetensors")
    for layer in range(2):
        tensors[f"encoder.layer.{layer}.attention.output.LayerNorm.bias"][:] += 1000
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def model(folder: Path) -> EncoderModel:
    return encoder_model(open_checkpoint(locate(str(folder))))


def test_a_model_that_does_not_bear_bf16_is_encoded_in_fp32(fragile: Path) -> None:
    encoder = Encoder(model(fragile), EncodingSettings(precision="auto"))
    assert not encoder.bf16
    assert "more than 0.75 %" in str(encoder.precision)
    assert np.array_equal(encoder.embed(TEXTS), Encoder(model(fragile)).embed(TEXTS))


def test_the_finding_is_kept_and_holds_for_mixtures(fragile: Path, tmp_path: Path) -> None:
    cache = EmbeddingCache(tmp_path / "cache")
    first = Encoder(model(fragile), EncodingSettings(precision="auto"), cache)
    again = Encoder(model(fragile), EncodingSettings(precision="auto"), cache)
    mixture = replace(first.model, sha256="0" * 64, folder=tmp_path / "not there")
    assert not first.bf16
    assert not again.bf16
    assert not again.loaded
    assert not Encoder(mixture, EncodingSettings(precision="auto"), cache).bf16


def test_what_is_asked_for_is_not_checked(fragile: Path) -> None:
    encoder = Encoder(model(fragile), EncodingSettings(precision="bf16"))
    assert encoder.bf16
    assert str(encoder.precision) == "bf16: asked for"
    assert not encoder.loaded


def test_noise_is_a_share_of_the_spread() -> None:
    random = np.random.default_rng(0)
    exact = random.standard_normal((200, 64)).astype(np.float32)
    for share in (0.01, 0.1):
        moved = exact + share * random.standard_normal(exact.shape).astype(np.float32)
        noise = Agreement.of(exact, moved).noise
        assert noise == pytest.approx(share * np.sqrt(2), rel=0.1)  # both sides of a product move
    assert not Agreement.of(exact, np.full_like(exact, np.nan)).holds
    assert Agreement.of(exact, exact).holds
    assert 0 < TOLERANCE < 0.1


def test_the_probe_is_of_texts_short_and_long() -> None:
    queries, passages = probe_texts()
    assert len(queries) == len(passages) >= 32
    assert max(map(len, passages)) > 5 * min(map(len, passages))
