from __future__ import annotations

import json

import numpy as np
import pytest
from disguise import opened
from safetensors.numpy import load_file, save_file

from embedmerge.checkpoint.reading import TensorReader
from embedmerge.diagnosis import shared_weights as module
from embedmerge.diagnosis.shared_weights import SharedWeights
from embedmerge.errors import EmbedmergeError

POOLER = {"pooler.dense.weight", "pooler.dense.bias"}


@pytest.fixture
def reader():
    with TensorReader() as reader:
        yield reader


def copied(folder, target, change=dict, **extra):
    """The folder with its tensors changed."""
    target.mkdir()
    for file in folder.rglob("*.json"):
        there = target / file.relative_to(folder)
        there.parent.mkdir(exist_ok=True)
        there.write_bytes(file.read_bytes())
    save_file(change(load_file(folder / "model.safetensors")) | extra, target / "model.safetensors")
    return target


def test_all_but_the_pooler_and_buffers_is_there(base, expert, tmp_path, reader):
    positions = {"embeddings.position_ids": np.arange(66, dtype=np.int64)[None]}
    with_buffer = [copied(folder, tmp_path / folder.name, **positions) for folder in (base, expert)]
    weights = SharedWeights(opened(*with_buffer), reader)
    assert {site.name for site in weights.sites} == load_file(base / "model.safetensors").keys() - POOLER
    blocks = {site.block for site in weights.sites}
    assert blocks == {None, 0, 1}


def test_a_whole_tensor_has_the_values_of_the_file_and_its_shape(base, expert, reader):
    weights = SharedWeights(opened(base, expert), reader)
    files = [load_file(folder / "model.safetensors") for folder in (base, expert)]
    for site in weights.sites:
        for source, file in enumerate(files):
            found = weights.matrix(site, source)
            assert found.dtype == np.float32
            np.testing.assert_array_equal(found, file[site.name])


@pytest.mark.parametrize("held", [1, 7, 1 << 20])
def test_slices_cover_a_tensor_once_and_hold_so_many_of_all_sources_together(
    held, base, expert, peer, reader, monkeypatch
):
    monkeypatch.setattr(module, "HELD", held)
    weights = SharedWeights(opened(base, expert, peer), reader)
    for site in weights.sites:
        if site.elements > 100:
            continue
        cuts = weights.slices(site)
        assert [at for cut in cuts for at in range(cut.start, cut.stop)] == list(range(site.elements))
        assert all(3 * (cut.stop - cut.start) <= max(held, 3) for cut in cuts)
        joined = np.concatenate([weights.values(site, 1, cut) for cut in cuts])
        np.testing.assert_array_equal(joined, weights.matrix(site, 1).ravel())


def test_types_may_differ(base, expert, tmp_path, reader):
    half = copied(
        expert,
        tmp_path / "half",
        lambda state: {name: value.astype(np.float16) for name, value in state.items()},
    )
    weights = SharedWeights(opened(base, half), reader)
    site = next(iter(weights.sites))
    np.testing.assert_array_equal(weights.matrix(site, 1), load_file(half / "model.safetensors")[site.name])


def test_a_tensor_that_one_source_lacks_is_left_out(base, expert, tmp_path, reader):
    name = "encoder.layer.1.output.dense.bias"
    short = copied(
        expert, tmp_path / "short", lambda state: {key: state[key] for key in state if key != name}
    )
    names = {site.name for site in SharedWeights(opened(base, short), reader).sites}
    assert name not in names
    assert "encoder.layer.1.output.dense.weight" in names


def test_a_head_behind_the_transformer_has_its_folder_in_its_name(base, expert, tmp_path, reader):
    folders = []
    for row, folder in enumerate((base, expert)):
        target = copied(folder, tmp_path / folder.name)
        modules = json.loads((folder / "modules.json").read_text())
        dense = {
            "idx": len(modules),
            "name": "3",
            "path": "3_Dense",
            "type": "sentence_transformers.models.Dense",
        }
        (target / "modules.json").write_text(json.dumps([*modules, dense]))
        (target / "3_Dense").mkdir()
        (target / "3_Dense" / "config.json").write_text(json.dumps({"in_features": 32, "out_features": 3}))
        linear = np.full((3, 32), row, dtype=np.float32)
        save_file({"linear.weight": linear}, target / "3_Dense" / "model.safetensors")
        folders.append(target)
    weights = SharedWeights(opened(*folders), reader)
    (site,) = [site for site in weights.sites if site.head]
    assert (site.name, site.kind, site.block) == ("3_Dense/linear.weight", "linear", None)
    assert (weights.matrix(site, 1) == 1).all()


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("side", [0, 1])
def test_nan_and_infinity_are_refused_by_source_and_tensor(value, side, base, expert, tmp_path, reader):
    name = "encoder.layer.0.output.dense.bias"
    folders = [base, expert]

    def spoilt(state):
        state[name][3] = value
        return state

    folders[side] = copied(folders[side], tmp_path / "spoilt", spoilt)
    weights = SharedWeights(opened(*folders), reader)
    site = next(site for site in weights.sites if site.name == name)
    assert np.isfinite(weights.matrix(site, 1 - side)).all()
    with pytest.raises(EmbedmergeError, match=rf"^spoilt: tensor '{name}' holds NaN or infinity"):
        weights.matrix(site, side)
