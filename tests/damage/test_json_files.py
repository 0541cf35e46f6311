"""Seeded damage to the JSON files of a model folder."""

from __future__ import annotations

import json
import random

import pytest
from safetensors.numpy import load_file

FILES = (
    "config.json",
    "modules.json",
    "1_Pooling/config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
)
VALUES = (
    None,
    True,
    -1,
    0,
    3.5,
    10**30,
    "",
    "x",
    "../../etc",
    [],
    [1],
    {},
    {"a": {"b": []}},
    "\ud800".encode("utf-16", "surrogatepass").hex(),
)


def side(scene, chance):
    return scene.base if chance.random() < 0.5 else scene.expert


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("seed", range(8))
def test_a_file_that_is_no_json(scene, file, seed):
    chance = random.Random(seed)
    path = side(scene, chance) / file
    data = path.read_bytes()
    damaged = chance.choice(
        [
            data[: chance.randrange(1, len(data) - 2)],
            b"",
            b"\xff\xfe" + data,
            chance.randbytes(300),
            b"[" * 100_000,
            data + b"}",
        ]
    )
    path.write_bytes(damaged)
    scene.merge().require_refused()


def leaves(value, place=()):
    if isinstance(value, dict):
        for key in value:
            yield from leaves(value[key], (*place, key))
    elif isinstance(value, list):
        for row, each in enumerate(value):
            yield from leaves(each, (*place, row))
    else:
        yield place


def replaced(value, place, new):
    if not place:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[place[0]] = replaced(value[place[0]], place[1:], new)
    return copy


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("seed", range(30))
def test_a_value_of_another_type(scene, file, seed):
    """Refused in one line, or harmless: then the merge is that of the sound files."""
    chance = random.Random(seed)
    folder = side(scene, chance)
    content = json.loads((folder / file).read_text())
    place = chance.choice(list(leaves(content)))
    cut = chance.randrange(len(place) + 1) if chance.random() < 0.3 else len(place)
    (folder / file).write_text(json.dumps(replaced(content, place[:cut], chance.choice(VALUES))))
    outcome = scene.merge()
    if outcome.code == 0:
        merged = load_file(outcome.output / "model.safetensors")
        sources = [load_file(each / "model.safetensors") for each in (scene.base, scene.expert)]
        for name, values in merged.items():
            assert abs(values - (sources[0][name] + sources[1][name]) / 2).max() < 1e-5
    else:
        outcome.require_refused()


@pytest.mark.parametrize("file", ["config.json", "modules.json"])
@pytest.mark.parametrize("which", ["base", "expert"])
def test_a_file_that_is_a_folder(scene, file, which):
    path = getattr(scene, which) / file
    path.unlink()
    path.mkdir()
    outcome = scene.merge()
    if which == "base" or file == "config.json":
        outcome.require_refused()
    else:  # without modules.json the expert is a plain folder and takes the base's modules
        assert outcome.code == 0
        assert "does not say how it pools" in outcome.error


@pytest.mark.parametrize("path", ["../expert", "/etc", "..", "a/../../b", "\u0000"])
def test_a_module_that_lies_outside(scene, path):
    file = scene.base / "modules.json"
    modules = json.loads(file.read_text())
    modules[1]["path"] = path
    file.write_text(json.dumps(modules))
    scene.merge().require_refused()
