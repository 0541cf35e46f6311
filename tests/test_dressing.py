from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from sentence_transformers import SentenceTransformer

from embedmerge.checkpoint.dressed import dressed_as
from embedmerge.checkpoint.hub import locate
from embedmerge.checkpoint.layout import open_checkpoint
from embedmerge.dressing import dressed, is_loadable

TEXTS = ["how do i merge two models", "the river bank"]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("EMBEDMERGE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def opened(folder):
    return open_checkpoint(locate(str(folder)))


@pytest.fixture
def plain(tmp_path, expert):
    """The expert's weights, config and tokenizer alone."""
    folder = Path(shutil.copytree(expert, tmp_path / "plain"))
    (folder / "modules.json").unlink()
    shutil.rmtree(folder / "1_Pooling")
    return folder


def rename(folder, prefix):
    tensors = load_file(folder / "model.safetensors")
    named = {prefix + name: value for name, value in tensors.items()}
    save_file(named, folder / "model.safetensors", metadata={"format": "pt"})


def as_bin(folder):
    tensors = load_file(folder / "model.safetensors")
    torch.save({name: torch.tensor(value) for name, value in tensors.items()}, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def as_shards(folder):
    tensors = load_file(folder / "model.safetensors")
    shards = [f"model-0000{row + 1}-of-00002.safetensors" for row in range(2)]
    weight_map = {name: shards[row % 2] for row, name in enumerate(sorted(tensors))}
    for shard in shards:
        kept = {name: tensors[name] for name in tensors if weight_map[name] == shard}
        save_file(kept, folder / shard, metadata={"format": "pt"})
    index = {"metadata": {}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "model.safetensors").unlink()


@pytest.mark.parametrize(
    "change", [lambda _: None, lambda it: rename(it, "0.auto_model."), as_bin, as_shards]
)
def test_a_dressed_expert_is_the_expert(base, expert, plain, change, cache):
    change(plain)
    folder, digest = dressed(dressed_as(opened(plain), opened(base)))
    model = SentenceTransformer(str(folder), device="cpu")
    wanted = SentenceTransformer(str(expert), device="cpu")
    assert np.array_equal(model.encode(TEXTS), wanted.encode(TEXTS))
    assert len(digest) == 64
    assert folder.parent == cache / "dressed"


def test_it_is_made_once(base, plain):
    checkpoint = dressed_as(opened(plain), opened(base))
    folder, _ = dressed(checkpoint)
    made = folder.stat().st_mtime_ns
    assert dressed(checkpoint)[0] == folder
    assert folder.stat().st_mtime_ns == made


def test_other_weights_in_the_same_place_are_dressed_anew(base, plain, peer):
    before = dressed(dressed_as(opened(plain), opened(base)))
    shutil.copy(peer / "model.safetensors", plain / "model.safetensors")
    after = dressed(dressed_as(opened(plain), opened(base)))
    assert before[0] != after[0] and before[1] != after[1]


def test_the_same_weights_elsewhere_have_the_same_digest_and_a_folder_of_their_own(base, plain, tmp_path):
    moved = Path(shutil.copytree(plain, tmp_path / "moved"))
    one, another = (dressed(dressed_as(opened(each), opened(base))) for each in (plain, moved))
    assert one[1] == another[1]
    assert one[0] != another[0]


def test_another_donor_is_another_model(base, plain, tmp_path):
    other = Path(shutil.copytree(base, tmp_path / "other"))
    pooling = {"word_embedding_dimension": 32, "pooling_mode_cls_token": True}
    (other / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    digests = {dressed(dressed_as(opened(plain), opened(donor)))[1] for donor in (base, other)}
    assert len(digests) == 2


def test_what_sentence_transformers_loads_itself_is_left_where_it_is(base, plain):
    assert is_loadable(opened(base))
    assert not is_loadable(opened(plain))
    assert not is_loadable(dressed_as(opened(plain), opened(base)))


def test_a_name_that_transformers_does_not_know_needs_dressing(base, tmp_path):
    folder = Path(shutil.copytree(base, tmp_path / "wrapped"))
    rename(folder, "0.auto_model.")
    checkpoint = opened(folder)
    assert not is_loadable(checkpoint)
    model = SentenceTransformer(str(dressed(checkpoint)[0]), device="cpu")
    assert np.array_equal(model.encode(TEXTS), SentenceTransformer(str(base), device="cpu").encode(TEXTS))
