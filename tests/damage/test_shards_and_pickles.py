"""Seeded damage to shard indices and to torch files."""

from __future__ import annotations

import json
import pickle
import random
import shutil
import zipfile

import pytest
import torch
from safetensors.torch import load_file

INDEX = "model.safetensors.index.json"


@pytest.fixture
def sharded(scene):
    """The scene with an expert in shards."""
    from transformers import AutoModel

    AutoModel.from_pretrained(str(scene.expert)).save_pretrained(
        str(scene.folder / "s"), max_shard_size="20KB"
    )
    (scene.expert / "model.safetensors").unlink()
    for path in (scene.folder / "s").glob("model*"):
        shutil.copy(path, scene.expert)
    shutil.rmtree(scene.folder / "s")
    return scene


def test_sound_shards_are_merged(sharded):
    assert sharded.merge().code == 0


@pytest.mark.parametrize(
    "target",
    ["../base/model.safetensors", "/etc/passwd", "..", "", ".", "missing.safetensors", "config.json",
     "1_Pooling", "a\u0000b", None, 3, [], {}, "model-00001-of-00099.safetensors", "C:\\x", "x" * 300],
)  # fmt: skip
@pytest.mark.parametrize("seed", range(2))
def test_an_index_that_names_something_else(sharded, target, seed):
    chance = random.Random(seed)
    index = json.loads((sharded.expert / INDEX).read_text())
    names = sorted(index["weight_map"])
    index["weight_map"][chance.choice([name for name in names if "pooler" not in name])] = target
    (sharded.expert / INDEX).write_text(json.dumps(index))
    sharded.merge().require_refused()


@pytest.mark.parametrize(
    "content", [[], {}, None, 3, {"weight_map": []}, {"weight_map": {}}, {"weight_map": 3}]
)
def test_an_index_that_is_none(sharded, content):
    (sharded.expert / INDEX).write_text(json.dumps(content))
    sharded.merge().require_refused()


@pytest.mark.parametrize("seed", range(10))
def test_a_shard_that_is_missing_or_cut(sharded, seed):
    chance = random.Random(seed)
    shard = chance.choice(sorted(sharded.expert.glob("model-*")))
    if chance.random() < 0.5:
        shard.unlink()
    else:
        data = shard.read_bytes()
        shard.write_bytes(data[: chance.randrange(len(data))])
    sharded.merge().require_refused()


def test_a_shard_that_is_a_link_out_of_the_folder(sharded):
    shard = sorted(sharded.expert.glob("model-*"))[0]
    outside = sharded.folder / "outside.safetensors"
    shutil.move(shard, outside)
    shard.symlink_to(outside)
    sharded.merge().require_refused()


@pytest.fixture
def pickled(scene):
    """The scene with an expert whose weights are a torch file."""
    state = load_file(scene.expert / "model.safetensors")
    (scene.expert / "model.safetensors").unlink()
    torch.save(state, scene.expert / "pytorch_model.bin")
    return scene


def test_a_sound_torch_file_is_merged(pickled):
    assert pickled.merge().code == 0


@pytest.mark.parametrize("seed", range(30))
def test_a_torch_file_that_is_cut_or_has_flipped_bits_in_its_frame(pickled, seed):
    """A zip archive has checksums that torch does not read, so flips are put where the archive is read."""
    chance = random.Random(seed)
    path = pickled.expert / "pytorch_model.bin"
    data = bytearray(path.read_bytes())
    if seed % 2:
        path.write_bytes(data[: chance.randrange(len(data) - 1)])
    else:
        with zipfile.ZipFile(path) as archive:
            pickle_at = archive.getinfo(
                next(name for name in archive.namelist() if name.endswith("data.pkl"))
            )
        start = chance.choice([pickle_at.header_offset + 100, len(data) - 400])
        for _ in range(20):
            data[start + chance.randrange(300)] ^= 1 << chance.randrange(8)
        path.write_bytes(data)
    outcome = pickled.merge()
    if outcome.code == 0:  # the flips fell where nobody reads
        return
    outcome.require_refused()


class Runs:
    """Would leave a file behind if it were unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize("form", ["pickle", "torch", "torch in a state", "legacy"])
def test_a_pickle_that_would_run_code_does_not(pickled, form):
    witness = pickled.folder / "outputs" / "ran"
    path = pickled.expert / "pytorch_model.bin"
    if form == "pickle":
        path.write_bytes(pickle.dumps(Runs(witness)))
    elif form == "torch":
        torch.save(Runs(witness), path)
    else:
        state = torch.load(path, weights_only=True)
        state["encoder.layer.0.output.dense.weight"] = Runs(witness)
        torch.save(state, path, _use_new_zipfile_serialization=form != "legacy")
    pickled.merge().require_refused()
    assert not witness.exists()


@pytest.mark.parametrize(
    "content",
    [[], 3, "x", None, {}, {"a": 3}, {1: torch.ones(2)}, {"a": [torch.ones(2)]}, torch.ones(3),
     {"embeddings.word_embeddings.weight": torch.ones(2, 2)}, {"a": torch.ones(2).to_sparse()},
     {"state_dict": {"a": torch.ones(2)}}, {"a": torch.ones(2, dtype=torch.complex64)}],
)  # fmt: skip
def test_a_torch_file_that_holds_something_else(pickled, content):
    torch.save(content, pickled.expert / "pytorch_model.bin")
    pickled.merge().require_refused()


@pytest.mark.parametrize("seed", range(10))
def test_a_torch_file_with_a_value_that_is_not_finite(pickled, seed):
    chance = random.Random(seed)
    path = pickled.expert / "pytorch_model.bin"
    state = torch.load(path, weights_only=True)
    name = chance.choice(sorted(name for name in state if state[name].is_floating_point()))
    state[name].view(-1)[chance.randrange(state[name].numel())] = float("nan")
    torch.save(state, path)
    outcome = pickled.merge()
    outcome.require_refused()
    assert name in outcome.error
