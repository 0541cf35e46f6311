"""Weights saved by torch (`.bin`, `.pt`), read with its weights-only loader: no code in them is run.

Only what FlagEmbedding reads in no other form is written so: the further heads of BGE-M3.
"""

from __future__ import annotations

import hashlib
import io
import re
import warnings
import zipfile
from typing import TYPE_CHECKING, Any, Self

from embedmerge.atomic import write_bytes
from embedmerge.checkpoint.tensors import STORAGE, TensorInfo
from embedmerge.errors import EmbedmergeError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import torch
    from numpy.typing import NDArray

# torch's name of a type -> safetensors' name of it.
DTYPES = {
    "torch.float64": "F64",
    "torch.float32": "F32",
    "torch.float16": "F16",
    "torch.bfloat16": "BF16",
    "torch.int64": "I64",
    "torch.int32": "I32",
    "torch.int16": "I16",
    "torch.int8": "I8",
    "torch.uint64": "U64",
    "torch.uint32": "U32",
    "torch.uint16": "U16",
    "torch.uint8": "U8",
    "torch.bool": "BOOL",
}


class TorchFile:
    """A file of named tensors written by `torch.save`, with the interface of `SafetensorsFile`.

    Use as a context manager. Files in torch's zip format (1.6 and later) are mapped, so that only what
    is read becomes resident; older ones are loaded whole.

    Attributes:
        path: The file.
        tensors: Name, type and shape of each tensor, in the order in which they were saved.

    Raises:
        EmbedmergeError: The file is missing, damaged, would run code, or holds anything but named tensors.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._values = self._load()
        self.tensors = {name: self._info(name, value) for name, value in self._values.items()}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._values = {}

    def read(self, name: str, start: int = 0, stop: int | None = None) -> NDArray[Any]:
        """Elements `start` to `stop` of a tensor, flat, in stored form (bfloat16 as uint16 bits)."""
        import torch

        dtype = self.tensors[name].dtype
        if not self._values[name].is_contiguous():  # saved as a view; laid out once, not for every slice
            self._values[name] = self._values[name].contiguous()
        elements = self._values[name].reshape(-1)[start:stop]
        bits = elements.view(torch.int16) if dtype == "BF16" else elements
        values: NDArray[Any] = bits.numpy().view(STORAGE[dtype])
        return values

    def _load(self) -> dict[str, torch.Tensor]:
        import pickle

        import torch

        try:
            mapped = zipfile.is_zipfile(self.path)
            with warnings.catch_warnings(action="ignore"):  # of pickles that are refused all the same
                content = torch.load(self.path, map_location="cpu", weights_only=True, mmap=mapped)
        except FileNotFoundError as error:
            raise EmbedmergeError(f"{self.path}: no such file; is the model folder complete?") from error
        except pickle.UnpicklingError as error:
            called = re.search(r"[Uu]nsupported (?:global: )?GLOBAL ([\w.]+)", str(error))
            what = f"would run {called[1]} when read, so it is not" if called else "no weights saved by torch"
            raise EmbedmergeError(f"{self.path}: {what}; save the weights as safetensors") from error
        except Exception as error:  # a damaged pickle fails in any way there is
            msg = f"{self.path}: no weights that torch can read ({_reason(error)}); fetch or save it again"
            raise EmbedmergeError(msg) from error
        return self._named_tensors(content)

    def _named_tensors(self, content: Any) -> dict[str, torch.Tensor]:
        import torch

        if not isinstance(content, dict):
            msg = f"{self.path}: holds a {type(content).__name__}, not tensors by name; save the state_dict"
            raise EmbedmergeError(msg)
        for name, value in content.items():
            if not isinstance(name, str) or not isinstance(value, torch.Tensor):
                msg = f"{self.path}: its entry {name!r} is no tensor; save the model's state_dict alone"
                raise EmbedmergeError(msg)
        return {name: value.detach() for name, value in content.items()}

    def _info(self, name: str, value: torch.Tensor) -> TensorInfo:
        import torch

        dtype = DTYPES.get(str(value.dtype))
        if dtype is None or value.layout != torch.strided or value.device.type != "cpu":
            found = f"{str(value.dtype).removeprefix('torch.')} {value.layout} tensor on {value.device}"
            msg = f"{self.path}: tensor {name!r} is a {found}, which cannot be merged; save it in float32"
            raise EmbedmergeError(msg)
        if value.numel() * value.element_size() > value.untyped_storage().nbytes():
            msg = f"{self.path}: tensor {name!r} is larger than its data; fetch or save it again"
            raise EmbedmergeError(msg)
        return TensorInfo(name, dtype, tuple(value.shape))


def write_torch_file(path: Path, values: Mapping[str, NDArray[Any]], infos: Sequence[TensorInfo]) -> str:
    """Write named tensors as `torch.save` writes a state_dict; the same tensors give the same bytes.

    Args:
        path: File to create.
        values: Elements of each tensor by its name in the file, flat, in stored form (bfloat16 as its bits).
        infos: Type and shape of each, in the same order.

    Returns:
        sha256 of the file.
    """
    import torch

    types = {name: getattr(torch, dtype.removeprefix("torch.")) for dtype, name in DTYPES.items()}
    state = {
        name: torch.from_numpy(flat.view("<i2") if info.dtype == "BF16" else flat)
        .view(types[info.dtype])
        .reshape(info.shape)
        for (name, flat), info in zip(values.items(), infos, strict=True)
    }
    buffer = io.BytesIO()  # given a path, torch writes its name into the file
    torch.save(state, buffer)
    write_bytes(path, buffer.getvalue())
    return hashlib.sha256(buffer.getvalue()).hexdigest()


def _reason(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "") or type(error).__name__
