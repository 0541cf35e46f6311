from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
from safetensors.numpy import load_file

from embedmerge.checkpoint.tensors import TensorInfo
from embedmerge.checkpoint.writing import ShardedWriter

SHAPES = {"a": (4, 8), "empty": (0, 3), "b": (16,), "scalar": (), "c": (10, 10), "last": (0,)}
ELEMENTS = {
    name: np.arange(np.prod(shape, dtype=int), dtype=np.float32).reshape(shape)
    for name, shape in SHAPES.items()
}


def write(folder, shard_bytes, step=7):
    """Write the tensors in small slices, and return the digests."""
    infos = [TensorInfo(name, "F32", shape) for name, shape in SHAPES.items()]
    with ShardedWriter(folder, infos, shard_bytes) as writer:
        for values in ELEMENTS.values():
            flat = values.reshape(-1)
            for start in range(0, flat.size, step):
                writer.append(flat[start : start + step])
    return writer.sha256


def files_in(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def test_what_fits_is_one_file_without_an_index(tmp_path):
    digests = write(tmp_path, 10_000)
    assert list(digests) == ["model.safetensors"]
    assert files_in(tmp_path) == digests
    found = load_file(tmp_path / "model.safetensors")
    assert found.keys() == SHAPES.keys()
    for name, values in ELEMENTS.items():
        np.testing.assert_array_equal(found[name], values)


@pytest.mark.parametrize(("shard_bytes", "count"), [(596, 1), (595, 2), (200, 2), (130, 3), (1, 4)])
def test_shards_keep_to_their_size_unless_one_tensor_is_larger(tmp_path, shard_bytes, count):
    digests = write(tmp_path, shard_bytes)
    assert files_in(tmp_path) == digests
    shards = sorted(name for name in digests if name.endswith(".safetensors"))
    assert len(shards) == count
    found = {}
    for name in shards:
        held = load_file(tmp_path / name)
        size = sum(values.nbytes for values in held.values())
        assert size <= shard_bytes or sum(values.size > 0 for values in held.values()) == 1
        found.update(held)
    assert found.keys() == SHAPES.keys()
    for name, values in ELEMENTS.items():
        np.testing.assert_array_equal(found[name], values)


def test_the_index_is_the_one_transformers_reads(tmp_path):
    write(tmp_path, 130)
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    assert index["metadata"] == {"total_size": sum(values.nbytes for values in ELEMENTS.values())}
    assert index["weight_map"].keys() == SHAPES.keys()
    for name, file in index["weight_map"].items():
        assert name in load_file(tmp_path / file)


def test_a_missing_element_is_a_fault_and_a_fault_inside_passes_through(tmp_path):
    infos = [TensorInfo("a", "F32", (4,)), TensorInfo("b", "F32", (4,))]
    with pytest.raises(ValueError, match="not written"), ShardedWriter(tmp_path, infos, 16) as writer:
        writer.append(np.ones(4, np.float32))
    with pytest.raises(KeyError), ShardedWriter(tmp_path, infos, 16):
        raise KeyError
