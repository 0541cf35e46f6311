"""Seeded damage to safetensors files: never a traceback, a hang or a silent success."""

from __future__ import annotations

import json
import random
import struct
from copy import deepcopy

import pytest

FILE = "model.safetensors"


def parts(path):
    data = path.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def write(path, header, payload):
    encoded = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(encoded)) + encoded + payload)


def side(scene, chance):
    return (scene.base if chance.random() < 0.5 else scene.expert) / FILE


@pytest.mark.parametrize("seed", range(60))
def test_a_truncated_file(scene, seed):
    chance = random.Random(seed)
    path = side(scene, chance)
    data = path.read_bytes()
    length = 8 + struct.unpack("<Q", data[:8])[0]
    end = chance.choice([chance.randrange(9), chance.randrange(length), chance.randrange(length, len(data))])
    path.write_bytes(data[:end])
    scene.merge().require_refused()


@pytest.mark.parametrize("seed", range(15))
def test_a_file_with_more_behind_its_end(scene, seed):
    chance = random.Random(seed)
    path = side(scene, chance)
    path.write_bytes(path.read_bytes() + chance.randbytes(chance.randrange(1, 200)))
    scene.merge().require_refused()


@pytest.mark.parametrize("seed", range(50))
def test_a_header_length_that_is_wrong(scene, seed):
    chance = random.Random(seed)
    path = side(scene, chance)
    data = path.read_bytes()
    right = struct.unpack("<Q", data[:8])[0]
    wrong = chance.choice(
        [
            chance.getrandbits(64),
            right + chance.randrange(1, 100),
            right - chance.randrange(1, 100),
            chance.randrange(10),
            len(data) - 8,
            len(data),
            2**63,
            2**64 - 1,
        ]
    )
    path.write_bytes(struct.pack("<Q", wrong) + data[8:])
    scene.merge().require_refused()


@pytest.mark.parametrize("seed", range(150))
def test_a_flipped_bit_in_the_header(scene, seed):
    chance = random.Random(seed)
    path = side(scene, chance)
    data = bytearray(path.read_bytes())
    length = struct.unpack("<Q", data[:8])[0]
    before = json.loads(data[8 : 8 + length])
    place = chance.randrange(8 + length)
    data[place] ^= 1 << chance.randrange(8)
    path.write_bytes(data)
    outcome = scene.merge()
    if outcome.code == 0:  # what the tensors are called and where they lie must then be as it was
        after, _ = parts(path)
        before.pop("__metadata__", None)
        assert {name: entry for name, entry in after.items() if name in before} == before
        assert all("dtype" not in entry for name, entry in after.items() if name not in before)
    else:
        outcome.require_refused()


def overlap(header, name, chance):
    begin, end = header[name]["data_offsets"]
    moved = chance.choice([-4, 4, 64, -begin - 4, 10**12])
    header[name]["data_offsets"] = [begin + moved, end + moved]


def shift_end(header, name, chance):
    header[name]["data_offsets"][1] += chance.choice([-4, 4, 1, -1, 10**15])


def other_dtype(header, name, chance):
    header[name]["dtype"] = chance.choice(
        ["F64", "F16", "I32", "U32", "BOOL", "F8_E4M3", "X", "", None, 7, []]
    )


def other_shape(header, name, chance):
    shape = header[name]["shape"]
    header[name]["shape"] = chance.choice(
        [[*shape, 2], shape[:-1], [-1, *shape[1:]], [0], [2**62, 2**62], [1.5], "x", None, {}, [[3]], [True]]
    )


def other_offsets(header, name, chance):
    header[name]["data_offsets"] = chance.choice(
        [[], [0], [0, 1, 2], "ab", None, [0.0, 4.0], [-4, 0], [4, 0], {"a": 1}, [None, None], ["0", "4"]]
    )


def other_entry(header, name, chance):
    header[name] = chance.choice([None, 3, "x", [], {}, {"dtype": "F32"}, [1, 2, 3]])


def lost(header, name, chance):
    del header[name]


def renamed(header, name, chance):
    header[chance.choice(["x", "", name + ".", "encoder.layer.99.output.dense.weight", "\u0000"])] = (
        header.pop(name)
    )


def swapped_names(header, name, chance):
    """Two tensors of different shapes under each other's names."""
    other = chance.choice([each for each in header if header[each].get("shape") != header[name]["shape"]])
    header[name], header[other] = header[other], header[name]


DAMAGES = (
    overlap,
    shift_end,
    other_dtype,
    other_shape,
    other_offsets,
    other_entry,
    lost,
    renamed,
    swapped_names,
)


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("seed", range(16))
def test_a_header_that_contradicts_itself_or_the_other_source(scene, damage, seed):
    chance = random.Random(seed)
    path = side(scene, chance)
    header, payload = parts(path)
    before = deepcopy(header)
    # A pooler may be missing, so its loss is no damage.
    names = [name for name in header if name != "__metadata__" and not name.startswith("pooler")]
    damage(header, chance.choice(names), chance)
    assert header != before
    write(path, header, payload)
    scene.merge().require_refused()


@pytest.mark.parametrize("header", [[], 3, "x", None, {}, {"__metadata__": {}}, {"a": {}}])
def test_a_header_that_is_none(scene, header):
    _, payload = parts(scene.expert / FILE)
    write(scene.expert / FILE, header, payload)
    scene.merge().require_refused()


def test_a_header_nested_deeper_than_the_parser_goes(scene):
    encoded = b"[" * 200_000
    (scene.expert / FILE).write_bytes(struct.pack("<Q", len(encoded)) + encoded)
    scene.merge().require_refused()


@pytest.mark.parametrize("seed", range(40))
def test_a_value_that_is_not_finite(scene, seed):
    chance = random.Random(seed)
    path = side(scene, chance)
    header, payload = parts(path)
    name = chance.choice([name for name in header if name != "__metadata__"])
    begin, end = header[name]["data_offsets"]
    place = begin + 4 * chance.randrange((end - begin) // 4)
    spoilt = bytearray(payload)
    spoilt[place : place + 4] = struct.pack("<f", chance.choice([float("nan"), float("inf"), -float("inf")]))
    write(path, header, bytes(spoilt))
    method = chance.choice(
        ["linear", "task_arithmetic", "ties", "slerp", "model_stock", "tsv_m", "dare_ties"]
    )
    more = () if method in ("linear", "slerp") else ("--method", method)
    outcome = scene.merge(*more)
    outcome.require_refused()
    if method != "model_stock":  # which wants two experts and says so first
        assert name in outcome.error
