from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch

from embedmerge.checkpoint.tensors import (
    STORAGE,
    SafetensorsFile,
    SafetensorsWriter,
    TensorInfo,
    narrow,
    widen,
)
from embedmerge.errors import EmbedmergeError


def raw_file(path, header, data=b""):
    """A file with any header and any bytes after it."""
    encoded = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(encoded).to_bytes(8, "little") + encoded + data)
    return path


def entry(dtype="F32", shape=(2,), offsets=(0, 8)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


def numpy_tensors():
    random = np.random.default_rng(0)
    return {
        "f32": random.standard_normal((3, 5)).astype(np.float32),
        "f16": random.standard_normal((2, 2, 2)).astype(np.float16),
        "f64": random.standard_normal(7),
        "i64": random.integers(-(2**62), 2**62, (4, 3)),
        "bool": np.array([True, False, True]),
        "scalar": np.array(2.5, dtype=np.float32),
        "empty": np.zeros((0, 4), dtype=np.float32),
        "odd": np.array([1, 2, 3], dtype=np.uint8),
    }


@pytest.fixture
def mixed_file(tmp_path):
    path = tmp_path / "mixed.safetensors"
    safetensors.numpy.save_file(numpy_tensors(), path, metadata={"format": "pt"})
    return path


@pytest.mark.parametrize("name", numpy_tensors())
def test_reads_what_the_safetensors_library_reads_bit_for_bit(mixed_file, name):
    wanted = safetensors.numpy.load_file(mixed_file)[name]
    with SafetensorsFile(mixed_file) as file:
        info = file.tensors[name]
        found = file.read(name)
    assert info.shape == wanted.shape
    assert info.elements == wanted.size
    assert info.nbytes == wanted.nbytes
    assert info.is_floating == (wanted.dtype.kind == "f")
    assert found.tobytes() == wanted.tobytes()


def test_lists_every_tensor_in_the_order_of_the_bytes(mixed_file):
    with SafetensorsFile(mixed_file) as file:
        starts = [info.start for info in file.tensors.values()]
        assert file.tensors.keys() == numpy_tensors().keys()
    assert starts == sorted(starts)


def test_bfloat16_is_read_as_torch_reads_it(tmp_path):
    wanted = torch.randn(6, 7, generator=torch.Generator().manual_seed(1)).to(torch.bfloat16)
    safetensors.torch.save_file({"w": wanted}, tmp_path / "b.safetensors")
    with SafetensorsFile(tmp_path / "b.safetensors") as file:
        bits, values = file.read("w"), file.read_float32("w")
    assert bits.tobytes() == wanted.view(torch.int16).numpy().tobytes()
    assert values.tobytes() == wanted.float().numpy().tobytes()


@pytest.mark.parametrize("name", ["f32", "f16", "f64"])
def test_read_float32_equals_numpys_conversion(mixed_file, name):
    with SafetensorsFile(mixed_file) as file:
        found = file.read_float32(name)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, numpy_tensors()[name].astype(np.float32).ravel())


@pytest.mark.parametrize(("start", "stop"), [(0, 1), (4, 9), (14, 15), (5, 5), (0, 15), (3, None)])
def test_a_slice_is_the_slice_of_the_flat_tensor(mixed_file, start, stop):
    wanted = numpy_tensors()["f32"].ravel()
    with SafetensorsFile(mixed_file) as file:
        np.testing.assert_array_equal(file.read("f32", start, stop), wanted[start:stop])
        np.testing.assert_array_equal(file.read_float32("f32", start, stop), wanted[start:stop])


def test_two_reads_do_not_share_memory(mixed_file):
    with SafetensorsFile(mixed_file) as file:
        first = file.read("f32")
        first[:] = 0
        np.testing.assert_array_equal(file.read("f32"), numpy_tensors()["f32"].ravel())


def test_the_file_is_closed_with_the_context(mixed_file):
    with SafetensorsFile(mixed_file) as file:
        pass
    with pytest.raises(ValueError, match="closed"):
        file.read("f32")


def halfway_values():
    """Random bit patterns, their halfway neighbours, and the edges of the range."""
    bits = np.random.default_rng(2).integers(0, 2**32, 20_000, dtype=np.uint64).astype(np.uint32)
    halfway = (bits & np.uint32(0xFFFF0000)) | np.uint32(0x8000)
    edges = np.array(
        [0, 0x80000000, 1, 0x7F7F8000, 0x7F7F7FFF, 0x7F7FFFFF, 0x00007FFF, 0x00008000], np.uint32
    )
    values = np.concatenate([bits, halfway, halfway - 1, halfway + 1, edges]).view(np.float32)
    return values[np.isfinite(values)]


def test_narrow_rounds_to_bfloat16_as_torch_does():
    values = halfway_values()
    wanted = torch.from_numpy(values).to(torch.bfloat16).view(torch.int16).numpy().view(np.uint16)
    np.testing.assert_array_equal(narrow(values, "BF16"), wanted)


def test_widen_is_exact_for_every_bfloat16():
    bits = np.arange(2**16, dtype=np.uint16)
    wanted = torch.from_numpy(bits.view(np.int16)).view(torch.bfloat16).float().numpy()
    assert widen(bits, "BF16").tobytes() == wanted.tobytes()


@pytest.mark.parametrize(("dtype", "torch_dtype"), [("F16", torch.float16), ("F64", torch.float64)])
def test_narrow_equals_torchs_conversion(dtype, torch_dtype):
    values = np.random.default_rng(3).standard_normal(10_000).astype(np.float32) * 1000
    wanted = torch.from_numpy(values).to(torch_dtype).numpy()
    assert narrow(values, dtype).tobytes() == wanted.tobytes()


def write(path, tensors):
    """Write numpy arrays in two appends each."""
    names = {dtype: name for name, dtype in STORAGE.items() if name not in ("BF16", "BOOL")}
    infos = [TensorInfo(name, names[value.dtype], value.shape) for name, value in tensors.items()]
    with SafetensorsWriter(path, infos) as writer:
        for value in tensors.values():
            for part in np.array_split(value.reshape(-1), 2):
                writer.append(part)
    return writer


def test_what_is_written_is_read_by_the_safetensors_library(tmp_path):
    tensors = {name: value for name, value in numpy_tensors().items() if name != "bool"}
    write(tmp_path / "w.safetensors", tensors)
    found = safetensors.numpy.load_file(tmp_path / "w.safetensors")
    assert found.keys() == tensors.keys()
    for name, value in tensors.items():
        assert found[name].dtype == value.dtype
        assert found[name].shape == value.shape
        assert found[name].tobytes() == value.tobytes()


def test_written_bfloat16_is_read_by_torch(tmp_path):
    values = np.random.default_rng(4).standard_normal((5, 3)).astype(np.float32)
    with SafetensorsWriter(tmp_path / "b.safetensors", [TensorInfo("w", "BF16", (5, 3))]) as writer:
        writer.append(narrow(values, "BF16"))
    found = safetensors.torch.load_file(tmp_path / "b.safetensors")["w"]
    assert torch.equal(found, torch.from_numpy(values).to(torch.bfloat16))


def test_the_written_file_states_its_format_and_aligns_its_tensors(tmp_path):
    write(tmp_path / "w.safetensors", {"a": np.zeros(3, np.float32)})
    with safetensors.safe_open(tmp_path / "w.safetensors", framework="numpy") as file:
        assert file.metadata() == {"format": "pt"}
    with SafetensorsFile(tmp_path / "w.safetensors") as file:
        assert file.tensors["a"].start % 8 == 0


def test_sha256_of_the_writer_is_the_files(tmp_path):
    writer = write(tmp_path / "w.safetensors", {"a": np.arange(9, dtype=np.float32)})
    assert writer.sha256 == hashlib.sha256((tmp_path / "w.safetensors").read_bytes()).hexdigest()


@pytest.mark.parametrize("elements", [3, 5])
def test_a_writer_that_gets_other_than_announced_refuses_to_finish(tmp_path, elements):
    info = TensorInfo("a", "F32", (4,))
    with (
        pytest.raises(ValueError, match="announced"),
        SafetensorsWriter(tmp_path / "w.safetensors", [info]) as writer,
    ):
        writer.append(np.zeros(elements, np.float32))


def test_an_error_while_writing_is_not_replaced_by_the_missing_bytes(tmp_path):
    info = TensorInfo("a", "F32", (4,))
    with pytest.raises(KeyError), SafetensorsWriter(tmp_path / "w.safetensors", [info]):
        raise KeyError


EIGHT = bytes(8)
DAMAGED = {
    "empty": lambda path: path.write_bytes(b""),
    "shorter than the header's length": lambda path: path.write_bytes(b"\x10\0\0"),
    "truncated header": lambda path: path.write_bytes(b'\x40\0\0\0\0\0\0\0{"a":'),
    "header longer than the file": lambda path: path.write_bytes(b"\xff" * 8 + b"{}"),
    "no header": lambda path: path.write_bytes(bytes(8)),
    "not JSON": lambda path: raw_file(path, b"{not json"),
    "not UTF-8": lambda path: raw_file(path, b'{"\xff\xfe": 1}'),
    "JSON nested too deep": lambda path: raw_file(path, b"[" * 100_000),
    "a JSON list": lambda path: raw_file(path, []),
    "an entry that is a number": lambda path: raw_file(path, {"a": 1}),
    "an entry that is a list": lambda path: raw_file(path, {"a": [1, 2, 3]}),
    "no dtype": lambda path: raw_file(path, {"a": {"shape": [2], "data_offsets": [0, 8]}}, EIGHT),
    "unknown dtype": lambda path: raw_file(path, {"a": entry("F33")}, EIGHT),
    "dtype that is a list": lambda path: raw_file(path, {"a": entry(["F32"])}, EIGHT),
    "negative shape": lambda path: raw_file(path, {"a": entry(shape=(-1, -2))}, EIGHT),
    "fractional shape": lambda path: raw_file(path, {"a": entry(shape=(2.0,))}, EIGHT),
    "boolean shape": lambda path: raw_file(path, {"a": entry("F64", shape=(True,))}, EIGHT),
    "shape that is a word": lambda path: raw_file(path, {"a": {**entry(), "shape": "two"}}, EIGHT),
    "no shape": lambda path: raw_file(path, {"a": {**entry(), "shape": None}}, EIGHT),
    "shape and offsets disagree": lambda path: raw_file(path, {"a": entry(shape=(3,))}, EIGHT),
    "three offsets": lambda path: raw_file(path, {"a": entry(offsets=(0, 4, 8))}, EIGHT),
    "offsets backwards": lambda path: raw_file(path, {"a": entry(offsets=(8, 0))}, EIGHT),
    "negative offsets": lambda path: raw_file(path, {"a": entry(offsets=(-8, 0))}, EIGHT),
    "offsets that are words": lambda path: raw_file(path, {"a": entry(offsets=("0", "8"))}, EIGHT),
    "overlap": lambda path: raw_file(path, {"a": entry(), "b": entry(offsets=(4, 12))}, bytes(12)),
    "the same bytes twice": lambda path: raw_file(path, {"a": entry(), "b": entry()}, EIGHT),
    "gap": lambda path: raw_file(path, {"a": entry(), "b": entry(offsets=(12, 20))}, bytes(20)),
    "gap before the first": lambda path: raw_file(path, {"a": entry(offsets=(4, 12))}, bytes(12)),
    "trailing bytes": lambda path: raw_file(path, {"a": entry()}, bytes(9)),
    "bytes missing": lambda path: raw_file(path, {"a": entry()}, bytes(7)),
    "more elements than any file has": lambda path: raw_file(
        path, {"a": entry(shape=(2**62,), offsets=(0, 2**64))}, EIGHT
    ),
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_file_is_one_readable_line_that_names_it(tmp_path, damage):
    path = tmp_path / "damaged.safetensors"
    DAMAGED[damage](path)
    with pytest.raises(EmbedmergeError) as caught:
        SafetensorsFile(path)
    assert str(path) in str(caught.value)
    assert "damaged" in str(caught.value).removeprefix(str(path))
    assert len(str(caught.value).splitlines()) == 1


def test_a_missing_file_and_a_folder_are_readable_errors(tmp_path):
    for path in (tmp_path / "absent.safetensors", tmp_path):
        with pytest.raises(EmbedmergeError, match="cannot be read") as caught:
            SafetensorsFile(path)
        assert str(path) in str(caught.value)


def test_a_file_cut_after_it_was_opened_is_a_readable_error(tmp_path):
    path = tmp_path / "cut.safetensors"
    safetensors.numpy.save_file({"w": np.ones(300_000, np.float32)}, path)  # more than a read buffer
    with SafetensorsFile(path) as file:
        with path.open("r+b") as handle:
            handle.truncate(1_000_000)
        with pytest.raises(EmbedmergeError, match="'w' ends early"):
            file.read("w")


def test_any_damage_gives_tensors_or_a_readable_error_and_nothing_else(tmp_path, mixed_file):
    whole = mixed_file.read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    path = tmp_path / "fuzzed.safetensors"
    random = np.random.default_rng(7)
    refused = 0
    for _ in range(400):
        damaged = bytearray(whole)
        for _ in range(random.integers(1, 4)):
            damaged[random.integers(header)] ^= 1 << random.integers(8)
        if random.random() < 0.25:
            del damaged[random.integers(len(damaged)) :]
        path.write_bytes(damaged)
        try:
            with SafetensorsFile(path) as file:
                for name in file.tensors:
                    file.read(name)
        except EmbedmergeError as error:
            refused += 1
            assert str(path) in str(error)
            assert len(str(error).splitlines()) == 1
    assert refused > 200
