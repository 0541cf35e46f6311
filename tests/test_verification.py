from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from embedmerge.api import merge
from embedmerge.errors import EmbedmergeError
from embedmerge.manifest import NAME
from embedmerge.sources import SourceSpec
from embedmerge.verification import replay, verify

WORDS = ["bank", "loan", "court", "law", "judge", "cell", "gene", "drug", "price", "stock"]


@pytest.fixture
def family(base, expert, peer, tmp_path):
    """Copies of base and two experts that a test may damage."""
    folders = {"base": base, "legal": expert, "code": peer}
    return {name: shutil.copytree(folder, tmp_path / "sources" / name) for name, folder in folders.items()}


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("".join(f"a river and {word}\n" for word in WORDS))
    return path


def merged(family, target, weights=(0.5, 0.3, 0.2), **options):
    roles = {"base": "base", "legal": "target"}
    specs = [SourceSpec(name, str(folder), roles.get(name, "peer")) for name, folder in family.items()]
    return merge(specs, weights, target, **options).folder


def test_a_model_as_it_was_written_is_sound(family, tmp_path):
    found = verify(merged(family, tmp_path / "out"))
    assert found.is_sound
    assert set(found.states.values()) == {"ok"}
    assert found.digests == found.manifest.files


def test_every_altered_missing_or_added_file_is_named(family, tmp_path):
    model = merged(family, tmp_path / "out")
    (model / "vocab.txt").unlink()
    (model / "extra.bin").write_bytes(b"?")
    (model / ".hidden").write_bytes(b"?")
    data = bytearray((model / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (model / "model.safetensors").write_bytes(data)
    states = verify(model).states
    wrong = {place: state for place, state in states.items() if state != "ok"}
    assert wrong == {"vocab.txt": "missing", "extra.bin": "extra", "model.safetensors": "altered"}


def test_a_file_that_became_a_link_out_of_the_folder_is_refused(family, tmp_path):
    model = merged(family, tmp_path / "out")
    elsewhere = tmp_path / "elsewhere"
    (model / "vocab.txt").rename(elsewhere)
    (model / "vocab.txt").symlink_to(elsewhere)
    with pytest.raises(EmbedmergeError, match=r"vocab\.txt: a link to"):
        verify(model)


def test_progress_rises_to_the_bytes_of_all_files(family, tmp_path):
    calls = []
    model = merged(family, tmp_path / "out")
    verify(model, progress=lambda *call: calls.append(call))
    size = sum(path.stat().st_size for path in model.rglob("*") if path.is_file() and path.name != NAME)
    assert calls[-1] == ("hashing", size, size)


@pytest.mark.parametrize(
    ("weights", "options"),
    [
        ((0.5, 0.3, 0.2), {}),
        ((0.5, 0.3, 0.2), {"dtype": "bfloat16", "shard_bytes": 20_000}),
        (None, {"method": "dare_ties", "parameters": {"seed": 7, "density": 0.4}}),
        (None, {"method": "ties", "parameters": {"density": {"block 0": 0.1, "*": 0.5}, "clamp": 1.0}}),
        (None, {"method": "ties", "parameters": {"density": {"expert code": [0.1, 0.9], "*": 0.4}}}),
        (None, {"method": "della", "parameters": {"epsilon": {"expert legal": {"block 0": 0.1}}}}),
        ({"legal": [0.1, 0.6], "code": 0.2}, {"method": "task_arithmetic", "parameters": {"lines": 0.5}}),
        (None, {"method": "tsv_m"}),
    ],
)
def test_a_merge_made_again_gives_the_same_bits(family, tmp_path, weights, options):
    found = replay(verify(merged(family, tmp_path / "out", weights, **options)))
    assert found.is_same
    assert "config.json" in found.compared


@pytest.mark.parametrize("method", ["fisher", "regmean"])
def test_a_merge_with_statistics_is_made_again_from_its_text(family, tmp_path, text, method, monkeypatch):
    model = merged(family, tmp_path / "out", None, method=method, texts=text)
    monkeypatch.setenv("EMBEDMERGE_CACHE", str(tmp_path / "empty"))  # nothing is taken from the first time
    assert replay(verify(model), texts=text).is_same


def test_the_text_of_statistics_must_be_given_and_be_the_same(family, tmp_path, text):
    model = merged(family, tmp_path / "out", None, method="regmean", texts=text)
    with pytest.raises(EmbedmergeError, match="needs unlabelled text"):
        replay(verify(model))
    text.write_text(text.read_text().replace("river", "tree"))
    with pytest.raises(EmbedmergeError, match="not the text that the statistics were gathered from"):
        replay(verify(model), texts=text)


def test_statistics_that_come_out_otherwise_are_named(family, tmp_path, text):
    model = merged(family, tmp_path / "out", None, method="regmean", texts=text)
    content = json.loads((model / NAME).read_text())
    content["statistics"]["code"] = "0" * 64
    (model / NAME).write_text(json.dumps(content))
    with pytest.raises(EmbedmergeError, match="source code: its statistics come out otherwise"):
        replay(verify(model), texts=text)


def test_text_for_a_method_without_statistics_is_refused(family, tmp_path, text):
    model = merged(family, tmp_path / "out")
    with pytest.raises(EmbedmergeError, match="no use for text"):
        replay(verify(model), texts=text)


def test_a_tensor_that_was_changed_is_named(family, tmp_path):
    model = merged(family, tmp_path / "out")
    tensors = load_file(model / "model.safetensors")
    name = "encoder.layer.1.output.dense.bias"
    tensors[name] = np.nextafter(tensors[name], np.float32(1))
    save_file(tensors, model / "model.safetensors", metadata={"format": "pt"})
    found = replay(verify(model))
    assert not found.is_same
    assert found.difference == f"model.safetensors: tensor {name!r} differs"


def test_a_weights_file_that_is_none_any_more_is_a_difference(family, tmp_path):
    model = merged(family, tmp_path / "out")
    (model / "model.safetensors").write_bytes(b"x" * 40)
    assert "damaged safetensors file" in replay(verify(model)).difference


def test_a_file_that_the_merge_does_not_give_is_a_difference(family, tmp_path):
    model = merged(family, tmp_path / "out")
    (model / "more.json").write_text("{}")
    verify(model).manifest.covering(model).write(model)
    assert replay(verify(model)).difference == "more.json: the merge does not give this file"


def test_a_moved_source_is_asked_for_and_found(family, tmp_path):
    model = merged(family, tmp_path / "out")
    moved = family["legal"].rename(tmp_path / "moved")
    with pytest.raises(EmbedmergeError, match=r"source legal: no folder .* --source legal=PATH"):
        replay(verify(model))
    assert replay(verify(model), {"legal": str(moved)}).is_same


def test_a_name_that_is_no_sources_is_refused(family, tmp_path):
    model = merged(family, tmp_path / "out")
    with pytest.raises(EmbedmergeError, match=r"source legl: .* did you mean 'legal'"):
        replay(verify(model), {"legl": "x"})


@pytest.mark.parametrize("file", ["model.safetensors", "vocab.txt"])
def test_a_source_that_is_not_what_was_merged_is_named(family, tmp_path, file):
    model = merged(family, tmp_path / "out")
    data = bytearray((family["base"] / file).read_bytes())
    data[-2] ^= 1
    (family["base"] / file).write_bytes(data)
    with pytest.raises(EmbedmergeError) as caught:
        replay(verify(model))
    assert "base" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_a_source_with_another_file_is_named(family, tmp_path):
    model = merged(family, tmp_path / "out")
    (family["base"] / "chat_template.jinja").write_text("x")
    with pytest.raises(EmbedmergeError, match=r"chat_template\.jinja was not there when it was merged"):
        replay(verify(model))


def test_an_expert_without_modules_of_its_own_is_replayed(family, tmp_path):
    for name in ("modules.json", "1_Pooling", "2_Normalize", "config_sentence_transformers.json"):
        path = family["code"] / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    assert replay(verify(merged(family, tmp_path / "out"))).is_same


def test_a_base_whose_pooling_was_stated_is_replayed(family, tmp_path):
    for folder in family.values():
        (folder / "modules.json").unlink()
    roles = {"base": "base", "legal": "target"}
    specs = [
        SourceSpec(name, str(folder), roles.get(name, "peer"), pooling="cls" if name == "base" else None)
        for name, folder in family.items()
    ]
    model = merge(specs, [0.5, 0.3, 0.2], tmp_path / "out").folder
    assert replay(verify(model)).is_same
