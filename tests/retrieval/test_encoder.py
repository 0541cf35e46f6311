from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer

from embedmerge.checkpoint.hub import locate
from embedmerge.checkpoint.layout import open_checkpoint
from embedmerge.errors import EmbedmergeError
from embedmerge.retrieval import encoder as encoder_module
from embedmerge.retrieval.cache import EmbeddingCache
from embedmerge.retrieval.encoder import Encoder
from embedmerge.retrieval.settings import EncoderModel, EncodingSettings
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


def test_what_is_cached_is_read_back_bit_for_bit_without_the_model(base: Path, tmp_path: Path) -> None:
    cache = EmbeddingCache(tmp_path / "cache")
    first = Encoder(model(base), cache=cache).embed(TEXTS)
    again = Encoder(model(base), cache=cache)
    assert np.array_equal(again.embed(TEXTS), first)
    assert not again.loaded


def test_models_under_one_folder_name_are_not_mixed_up(make_expert, base: Path, tmp_path: Path) -> None:
    cache = EmbeddingCache(tmp_path / "cache")
    one = Encoder(model(make_expert("twin", base=base, seed=1)), cache=cache).embed(TEXTS)
    other = Encoder(model(make_expert("twin", base=base, seed=2)), cache=cache).embed(TEXTS)
    assert not np.allclose(one, other, atol=1e-3)


def test_settings_and_prompts_have_vectors_of_their_own(base: Path, tmp_path: Path) -> None:
    cache = EmbeddingCache(tmp_path / "cache")
    plain = Encoder(model(base), cache=cache).embed(TEXTS)
    short = Encoder(model(base), EncodingSettings(max_seq_length=4), cache).embed(TEXTS)
    prompted = Encoder(model(base), cache=cache).embed(TEXTS, "what is ")
    assert not np.allclose(plain, short, atol=1e-3)
    assert not np.allclose(plain, prompted, atol=1e-3)


def test_a_text_is_encoded_once_whatever_it_comes_with(base: Path, tmp_path: Path) -> None:
    cache = EmbeddingCache(tmp_path / "cache")
    whole = Encoder(model(base), cache=cache)
    vectors = whole.embed(TEXTS)
    other = Encoder(model(base), EncodingSettings(tokens_per_batch=64, threads=1), cache)
    found = other.embed([TEXTS[7], "something new", TEXTS[3], TEXTS[7], "something new"])
    assert (whole.counts.encoded, whole.counts.hits) == (len(TEXTS), 0)
    assert (other.counts.encoded, other.counts.hits) == (1, 4)
    assert np.array_equal(found[[0, 2, 3]], vectors[[7, 3, 7]])
    np.testing.assert_allclose(found[1], Encoder(model(base)).embed(["something new"])[0], atol=1e-6)


@pytest.mark.parametrize("cached", [True, False])
def test_a_text_of_two_windows_is_encoded_once(base: Path, tmp_path: Path, monkeypatch, cached: bool) -> None:
    monkeypatch.setattr(encoder_module, "WINDOW", 8)
    encoder = Encoder(model(base), cache=EmbeddingCache(tmp_path / "cache") if cached else None)
    found = encoder.embed([*TEXTS[:8], *TEXTS[4:12]])
    assert (encoder.counts.encoded, encoder.counts.hits) == (12, 4)
    assert np.array_equal(found[4:8], found[8:12])


def test_an_interrupted_run_gives_the_bits_of_one_that_was_not(
    base: Path, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr(encoder_module, "WINDOW", 8)
    straight = Encoder(model(base), cache=EmbeddingCache(tmp_path / "a")).embed(TEXTS)
    interrupted = EmbeddingCache(tmp_path / "b")

    def interrupt(done: int, _: int) -> None:
        if done == 16:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Encoder(model(base), cache=interrupted, progress=interrupt).embed(TEXTS)
    again = Encoder(model(base), cache=interrupted)
    assert np.array_equal(again.embed(TEXTS), straight)
    assert (again.counts.encoded, again.counts.hits) == (8, 16)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_vectors_do_not_depend_on_the_number_of_threads(base: Path, precision: str) -> None:
    before = torch.get_num_threads()
    one, three = (
        Encoder(model(base), EncodingSettings(precision=precision, threads=threads, tokens_per_batch=64))
        for threads in (1, 3)
    )
    assert np.array_equal(one.embed(TEXTS), three.embed(TEXTS))
    assert torch.get_num_threads() == before


def test_several_processes_give_the_same_vectors(base: Path) -> None:
    wanted = Encoder(model(base), EncodingSettings(tokens_per_batch=64)).embed(TEXTS, "about ")
    encoder = Encoder(model(base), EncodingSettings(tokens_per_batch=64, devices=("cpu", "cpu")))
    assert np.array_equal(encoder.embed(TEXTS, "about "), wanted)
    encoder.close()


@pytest.mark.parametrize("settings", [{"device": "abacus"}, {"devices": ("cpu", "cuda:97")}])
def test_a_device_that_cannot_be_used_is_refused_with_the_settings(settings: dict) -> None:
    with pytest.raises(EmbedmergeError, match=r"device (abacus|cuda:97): cannot be used here \(.{9,}\)$"):
        EncodingSettings(**settings)


def test_few_texts_stay_in_this_process_on_the_first_device() -> None:
    settings = EncodingSettings("bf16", devices=("cpu", "cpu"), max_seq_length=32)
    assert settings.for_few_texts == EncodingSettings("bf16", device="cpu", max_seq_length=32)


def test_a_file_takes_the_vectors_window_by_window(base: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(encoder_module, "WINDOW", 8)
    encoder = Encoder(model(base))
    found = encoder.embed(TEXTS, out=tmp_path / "vectors.npy")
    assert isinstance(found, np.memmap)
    assert np.array_equal(found, encoder.embed(TEXTS))
    assert encoder.embed([], out=tmp_path / "none.npy").shape == (0, 0)


def test_a_file_that_is_not_finished_does_not_stay(base: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(encoder_module, "WINDOW", 8)

    def interrupt(*_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Encoder(model(base), progress=interrupt).embed(TEXTS, out=tmp_path / "vectors.npy")
    assert not list(tmp_path.iterdir())


def test_no_batch_exceeds_the_token_budget(base: Path) -> None:
    encoder = Encoder(model(base), EncodingSettings(tokens_per_batch=64))
    batches = list(encoder.batches(TEXTS))
    lengths = [len(ids) + 2 for ids in encoder.token_ids(TEXTS)[0]]
    lengths = [min(length, 48) for length in lengths]
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


@pytest.mark.parametrize(
    "text", ["\x00\x1b control \x07", "שלום עולם", "🦜🏽‍♀️", "half \ud83d a pair", "river " * 100_000, "\n"]
)
def test_odd_texts_are_texts(base: Path, tmp_path: Path, text: str) -> None:
    encoder = Encoder(model(base), cache=EmbeddingCache(tmp_path / "cache"))
    assert np.isfinite(encoder.embed([text, *TEXTS])).all()
    assert list(encoder.batches([text]))
    assert encoder.token_ids([text])
    encoder.embed([text])
    assert encoder.counts.encoded == 1 + len(TEXTS)


def test_nothing_to_encode_is_no_error(base: Path) -> None:
    assert Encoder(model(base)).embed([]).shape[0] == 0
