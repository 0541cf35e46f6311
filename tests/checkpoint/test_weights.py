from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from embedmerge.checkpoint.hub import Location
from embedmerge.checkpoint.layout import open_checkpoint
from embedmerge.checkpoint.reading import TensorReader
from embedmerge.checkpoint.weights import locate_heads, locate_tensors
from embedmerge.errors import EmbedmergeError

INDEX = "model.safetensors.index.json"


def refused(call, *arguments):
    with pytest.raises(EmbedmergeError) as caught:
        call(*arguments)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def values(located):
    with TensorReader() as reader:
        return {name: reader.read(location).tolist() for name, location in located.items()}


@pytest.fixture
def shards(tmp_path):
    """A folder of two shards, `a` in one and `b` in the other."""
    folder = tmp_path / "model"
    folder.mkdir()
    for row, name in enumerate("ab"):
        save_file({name: np.full(3, row, np.float32)}, folder / f"{row}.safetensors")
    write_index(folder, {"a": "0.safetensors", "b": "1.safetensors"})
    return folder


def write_index(folder, weight_map):
    (folder / INDEX).write_text(json.dumps({"weight_map": weight_map}))


def test_shards_are_one_set_of_tensors(shards):
    assert values(locate_tensors(shards, shards)) == {"a": [0.0] * 3, "b": [1.0] * 3}


def test_torch_shards_are_read_too(tmp_path):
    for row, name in enumerate("ab"):
        torch.save({name: torch.full((2,), float(row))}, tmp_path / f"{row}.bin")
    index = {"weight_map": {"a": "0.bin", "b": "1.bin"}}
    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    assert values(locate_tensors(tmp_path, tmp_path)) == {"a": [0.0] * 2, "b": [1.0] * 2}


def test_safetensors_go_before_torch_files(shards):
    torch.save({"c": torch.ones(1)}, shards / "pytorch_model.bin")
    assert values(locate_tensors(shards, shards)).keys() == {"a", "b"}


def test_a_shard_that_lacks_a_tensor(shards):
    write_index(shards, {"a": "0.safetensors", "b": "1.safetensors", "c": "1.safetensors"})
    assert "places tensor 'c' in 1.safetensors, which has none" in refused(locate_tensors, shards, shards)


def test_a_tensor_in_another_shard_than_the_index_says(shards):
    write_index(shards, {"a": "1.safetensors", "b": "0.safetensors"})
    assert "places tensor 'a' in 1.safetensors" in refused(locate_tensors, shards, shards)


def test_a_tensor_in_two_shards(shards):
    save_file({name: np.zeros(3, np.float32) for name in "ab"}, shards / "1.safetensors")
    assert "tensor 'a' is in 0.safetensors and in 1.safetensors" in refused(locate_tensors, shards, shards)


def test_a_shard_that_is_a_folder(shards):
    (shards / "1.safetensors").unlink()
    (shards / "1.safetensors").mkdir()
    assert "names 1.safetensors, which is not there" in refused(locate_tensors, shards, shards)


@pytest.mark.parametrize("name", ["1.safetensors", INDEX, "model.safetensors", "pytorch_model.bin"])
def test_a_link_out_of_the_folder(shards, tmp_path, name):
    outside = tmp_path / "outside"
    if (shards / name).exists():
        (shards / name).rename(outside)
    else:
        (shards / INDEX).unlink()
        shutil.copy(shards / "0.safetensors", outside)
    (shards / name).symlink_to(outside)
    assert f"a link to {outside}, outside the model folder" in refused(locate_tensors, shards, shards)


def test_a_link_within_the_folder_and_a_folder_behind_a_link(shards, tmp_path):
    (shards / "1.safetensors").rename(shards / "real")
    (shards / "1.safetensors").symlink_to("real")
    (tmp_path / "alias").symlink_to(shards)
    assert values(locate_tensors(tmp_path / "alias", tmp_path / "alias")).keys() == {"a", "b"}


def test_links_to_the_blobs_of_a_snapshot_alone(tmp_path, base):
    """As huggingface_hub lays out its cache."""
    repository = tmp_path / "models--org--tiny"
    snapshot = repository / "snapshots" / ("1" * 40)
    for path in (path for path in base.rglob("*") if path.is_file()):
        blob = repository / "blobs" / path.relative_to(base).as_posix().replace("/", "_")
        blob.parent.mkdir(parents=True, exist_ok=True)
        blob.write_bytes(path.read_bytes())
        link = snapshot / path.relative_to(base)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(blob)
    checkpoint = open_checkpoint(Location("org/tiny", snapshot, "1" * 40))
    assert checkpoint.tensors and checkpoint.module_files()
    other = tmp_path / "models--org--other" / "blobs"
    other.mkdir(parents=True)
    (other / "vocabulary").write_text("secret")
    (snapshot / "vocab.txt").unlink()
    (snapshot / "vocab.txt").symlink_to(other / "vocabulary")
    assert "outside the model folder" in refused(checkpoint.module_files)


def test_one_canonical_name_twice(tmp_path, base):
    folder = Path(shutil.copytree(base, tmp_path / "model"))
    tensors = load_file(folder / "model.safetensors")
    tensors["embeddings.LayerNorm.gamma"] = tensors["embeddings.LayerNorm.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    message = refused(open_checkpoint, Location(str(folder), folder, None))
    assert "hold 'embeddings.LayerNorm.weight' twice" in message


def test_heads_are_named_by_their_file(tmp_path):
    linear = torch.nn.Linear(4, 1)
    torch.save(linear.state_dict(), tmp_path / "sparse_linear.pt")
    heads = locate_heads(tmp_path)
    assert heads.keys() == {"sparse_linear.pt"}
    assert heads["sparse_linear.pt"]["weight"].info.name == "sparse_linear.weight"
    assert values(heads["sparse_linear.pt"])["bias"] == linear.bias.tolist()
