from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch

from embedmerge.checkpoint.reading import TensorReader, open_weights
from embedmerge.checkpoint.tensors import SafetensorsFile, TensorInfo
from embedmerge.checkpoint.torch_file import TorchFile
from embedmerge.checkpoint.weights import locate_tensors
from embedmerge.errors import EmbedmergeError

LEGACY = {"_use_new_zipfile_serialization": False}


def refused(path):
    with pytest.raises(EmbedmergeError) as caught:
        TorchFile(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert len(message.splitlines()) == 1
    return message


@pytest.fixture
def path(tmp_path):
    return tmp_path / "pytorch_model.bin"


@pytest.mark.parametrize("options", [{}, LEGACY], ids=["zip", "legacy"])
@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16", "int64", "uint8", "bool"])
def test_values_and_slices_are_those_that_were_saved(path, dtype, options):
    value = torch.arange(12).reshape(3, 4).to(getattr(torch, dtype))
    torch.save({"a.weight": value, "b": torch.ones(())}, path, **options)
    with TorchFile(path) as file:
        info = file.tensors["a.weight"]
        assert (info.name, info.shape, info.nbytes) == ("a.weight", (3, 4), value.nbytes)
        read = np.concatenate([file.read("a.weight", 0, 5), file.read("a.weight", 5)])
        bits = value.view(torch.int16) if dtype == "bfloat16" else value
        assert read.tobytes() == bits.numpy().tobytes()
        assert file.read("b").tolist() == [1.0]


def test_both_kinds_of_file_say_the_same(path, tmp_path):
    from safetensors.torch import save_file

    state = {"w": torch.randn(4, 3).bfloat16(), "n": torch.arange(5)}
    torch.save(state, path)
    save_file(state, tmp_path / "model.safetensors")
    found = {}
    for each in (path, tmp_path / "model.safetensors"):
        with open_weights(each) as file:
            found[type(file)] = {
                name: (info.dtype, info.shape, file.read(name, 1, 4).tobytes())
                for name, info in sorted(file.tensors.items())
            }
    assert found[TorchFile] == found[SafetensorsFile]


def test_views_and_parameters_are_laid_out(path):
    whole = torch.arange(12.0).reshape(3, 4)
    torch.save({"t": whole.T, "p": torch.nn.Parameter(whole), "part": whole[1:, ::2]}, path)
    with TorchFile(path) as file:
        assert file.read("t", 2, 5).tolist() == whole.T.reshape(-1)[2:5].tolist()
        assert file.read("part").tolist() == [4.0, 6.0, 8.0, 10.0]
        assert file.read("p").tolist() == list(range(12))


def test_a_reader_widens_it(path):
    torch.save({"w": torch.tensor([1.5, -2.0]).bfloat16()}, path)
    located = locate_tensors(path.parent, path.parent)
    with TensorReader() as reader:
        assert reader.read_float32(located["w"]).tolist() == [1.5, -2.0]
    assert located["w"].info == TensorInfo("w", "BF16", (2,))


class Running:
    """Runs a function of this module when unpickled."""

    def __reduce__(self):
        return ran, ()


def ran():
    raise AssertionError("code from a pickle was run")


class Touching:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        import os

        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("options", [{}, LEGACY], ids=["zip", "legacy"])
def test_a_pickle_that_would_run_code_is_refused_and_not_run(path, tmp_path, options):
    torch.save({"w": Touching(tmp_path / "made")}, path, **options)
    assert "would run posix.mkdir when read, so it is not" in refused(path)
    assert not (tmp_path / "made").exists()
    with pytest.raises(FileExistsError):  # it would have run
        (tmp_path / "made").mkdir()
        torch.load(path, weights_only=False)
    torch.save({"w": Running()}, path, **options)
    assert "test_torch_file.ran" in refused(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([torch.ones(2)], "holds a list, not tensors by name"),
        ({"w": torch.ones(2), "epoch": 3}, "its entry 'epoch' is no tensor"),
        ({3: torch.ones(2)}, "its entry 3 is no tensor"),
        ({"state_dict": {"w": torch.ones(2)}}, "its entry 'state_dict' is no tensor"),
        ({"w": torch.eye(3).to_sparse()}, "tensor 'w' is a float32 torch.sparse_coo tensor"),
        ({"w": torch.ones(2, dtype=torch.complex64)}, "tensor 'w' is a complex64"),
        ({"w": torch.ones(2).to(torch.float8_e4m3fn)}, "tensor 'w' is a float8_e4m3fn"),
        ({"w": torch.ones(1).expand(10**12)}, "tensor 'w' is larger than its data"),
        (torch.nn.Linear(2, 2), "would run torch.nn.modules.linear.Linear when read"),
    ],
)
def test_anything_but_named_dense_tensors_is_refused(path, content, message):
    torch.save(content, path)
    assert message in refused(path)


@pytest.mark.parametrize("options", [{}, LEGACY], ids=["zip", "legacy"])
def test_damaged_files_are_refused(path, options):
    torch.save({"w": torch.randn(300), "v": torch.randn(20)}, path, **options)
    content = path.read_bytes()
    for kept in (0, 1, 40, len(content) // 2, len(content) - 30):
        path.write_bytes(content[:kept])
        refused(path)


@pytest.mark.parametrize("content", [pickle.dumps({"w": 1}), b"x", b"PK\x03\x04" + b"\0" * 60])
def test_what_torch_has_not_saved_is_refused(path, content):
    path.write_bytes(content)
    refused(path)


def test_a_folder_and_nothing_at_all_are_refused(path, tmp_path):
    assert "no such file" in refused(path)
    path.mkdir()
    refused(path)
