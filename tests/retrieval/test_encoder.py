from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from embedmerge.checkpoint.hub import locate
from embedmerge.checkpoint.layout import open_checkpoint
from embedmerge.errors import EmbedmergeError
from embedmerge.retrieval import encoder as encoder_module
from embedmerge.retrieval.cache import EmbeddingCache
from embedmerge.retrieval.encoder import Encoder, EncoderModel, EncodingSettings
from embedmerge.sources import encoder_model

if TYPE_CHECKING:
    from pathlib import Path

TEXTS = [
    "how do i merge two models",
    "",
    "river water tree bird house " * 30,  # beyond the maximum length
    "zq🦜 unknown",
    *(f"code function loop {number}" for number in range(20)),
]


def model(folder: Path) -> EncoderModel:
    return encoder_model(open_checkpoint(locate(str(folder))))


@pytest.mark.parametrize("pooling", ["cls", "mean"])
@pytest.mark.parametrize("arch", ["bert", "xlm-roberta"])
@pytest.mark.parametrize("normalise", [True, False])
def test_equals_sentence_transformers(make_checkpoint, arch: str, pooling: str, normalise: bool) -> None:
    prompts = {"query": "what is ", "document": "about "}
    folder = make_checkpoint("same", arch=arch, pooling=pooling, normalise=normalise, prompts=prompts)
    ours, theirs = Encoder(model(folder)), SentenceTransformer(str(folder), device="cpu")
    for kind, wanted in (("query", theirs.encode_query(TEXTS)), ("document", theirs.encode_document(TEXTS))):
        found = ours.embed(TEXTS, ours.model.prompt(kind))
        np.testing.assert_allclose(found, wanted, atol=2e-6 if normalise else 2e-5)


def test_a_cached_block_is_read_back_bit_for_bit_without_the_model(base: Path, tmp_path: Path) -> None:
    cache = EmbeddingCache(tmp_path / "cache")
    first = Encoder(model(base), cache=cache).embed(TEXTS)
    again = Encoder(model(base), cache=cache)
    assert np.array_equal(again.embed(TEXTS), first)
    assert "_loaded" not in vars(again)


def test_models_under_one_folder_name_are_not_mixed_up(make_expert, base: Path, tmp_path: Path) -> None:
    cache = EmbeddingCache(tmp_path / "cache")
    one = Encoder(model(make_expert("twin", base=base, seed=1)), cache=cache).embed(TEXTS)
    other = Encoder(model(make_expert("twin", base=base, seed=2)), cache=cache).embed(TEXTS)
    assert not np.allclose(one, other, atol=1e-3)


def test_settings_and_prompts_have_blocks_of_their_own(base: Path, tmp_path: Path) -> None:
    cache = EmbeddingCache(tmp_path / "cache")
    plain = Encoder(model(base), cache=cache).embed(TEXTS)
    short = Encoder(model(base), EncodingSettings(max_seq_length=4), cache).embed(TEXTS)
    prompted = Encoder(model(base), cache=cache).embed(TEXTS, "what is ")
    assert not np.allclose(plain, short, atol=1e-3)
    assert not np.allclose(plain, prompted, atol=1e-3)


def test_a_damaged_cache_file_is_computed_again(base: Path, tmp_path: Path) -> None:
    cache = EmbeddingCache(tmp_path / "cache")
    wanted = Encoder(model(base), cache=cache).embed(TEXTS)
    (file,) = (tmp_path / "cache").rglob("*.npy")
    file.write_bytes(file.read_bytes()[:-100])
    assert np.array_equal(Encoder(model(base), cache=cache).embed(TEXTS), wanted)


def test_blocks_do_not_depend_on_what_was_cached(base: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(encoder_module, "BLOCK", 8)
    straight = Encoder(model(base), cache=EmbeddingCache(tmp_path / "a")).embed(TEXTS)
    interrupted = EmbeddingCache(tmp_path / "b")
    Encoder(model(base), cache=interrupted).embed(TEXTS[:8])
    assert np.array_equal(Encoder(model(base), cache=interrupted).embed(TEXTS), straight)


def test_no_batch_exceeds_the_token_budget(base: Path, monkeypatch) -> None:
    encoder = Encoder(model(base), EncodingSettings(tokens_per_batch=64))
    batches = list(encoder.batches(TEXTS))
    lengths = encoder._token_counts(TEXTS)
    assert sorted(row for batch in batches for row in batch) == list(range(len(TEXTS)))
    assert all(len(batch) == 1 or len(batch) * max(lengths[row] for row in batch) <= 64 for batch in batches)


@pytest.mark.parametrize("arch", ["bert", "xlm-roberta"])
def test_a_length_beyond_the_models_positions_is_cut_to_them(make_checkpoint, arch: str) -> None:
    long = [" ".join(["river", "water", "tree"] * 100)]
    folder = make_checkpoint("positions", arch=arch)
    beyond = Encoder(model(folder), EncodingSettings(max_seq_length=500)).embed(long)
    last = 66 if arch == "bert" else 64  # XLM-R keeps two positions for padding
    np.testing.assert_allclose(
        beyond, Encoder(model(folder), EncodingSettings(max_seq_length=last)).embed(long)
    )


def test_bf16_is_near_fp32(base: Path) -> None:
    exact = Encoder(model(base)).embed(TEXTS)
    near = Encoder(model(base), EncodingSettings(precision="bf16")).embed(TEXTS)
    assert not np.array_equal(exact, near)
    assert (exact * near).sum(axis=1).min() > 0.99


def test_nan_is_named(base: Path, make_expert, tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    folder = make_expert("nan", base=base)
    tensors = load_file(folder / "model.safetensors")
    tensors["encoder.layer.0.output.dense.bias"][:] = np.nan
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(EmbedmergeError, match="nan: gives NaN or infinity for 'how do i"):
        Encoder(model(folder)).embed(TEXTS[:1])


def test_nothing_to_encode_is_no_error(base: Path) -> None:
    assert Encoder(model(base)).embed([]).shape[0] == 0
