"""Lazy reading and streamed writing of safetensors files, one slice of one tensor at a time.

The format is a little-endian 8-byte header length, a JSON header that maps each name to
`{"dtype", "shape", "data_offsets"}`, and the tensors' bytes back to back
(https://github.com/huggingface/safetensors#format). It is read here rather than through the
library because numpy has no bfloat16 and because memory must not grow with the tensor.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from embedmerge.errors import EmbedmergeError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from numpy.typing import NDArray

    Float32 = NDArray[np.float32]

# bfloat16 travels as its bits: numpy has no such type.
STORAGE: dict[str, np.dtype[Any]] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype("<u2"),
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "I16": np.dtype("<i2"),
    "I8": np.dtype("i1"),
    "U64": np.dtype("<u8"),
    "U32": np.dtype("<u4"),
    "U16": np.dtype("<u2"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("u1"),
}
FLOATING = frozenset({"F64", "F32", "F16", "BF16"})
MAX_HEADER = 100_000_000


@dataclass(frozen=True)
class TensorInfo:
    """Where a tensor lies in its file.

    Attributes:
        name: Name in the header.
        dtype: The format's own name of the type, such as `F32` or `BF16`.
        shape: Dimensions; empty for a scalar.
        start: First byte, counted from the beginning of the file.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int = 0

    @property
    def elements(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Number of bytes in the file."""
        return self.elements * STORAGE[self.dtype].itemsize

    def place(self, element: int) -> int:
        """Byte at which an element begins, counted from the beginning of the file."""
        return self.start + element * STORAGE[self.dtype].itemsize

    @property
    def is_floating(self) -> bool:
        """Whether the tensor may be averaged; integer buffers may not."""
        return self.dtype in FLOATING


def widen(raw: NDArray[Any], dtype: str) -> Float32:
    """Stored elements as float32.

    >>> widen(np.array([0x3FC0], dtype="<u2"), "BF16")
    array([1.5], dtype=float32)
    """
    if dtype == "BF16":
        return (raw.astype(np.uint32) << np.uint32(16)).view(np.float32)
    return raw.astype(np.float32, copy=False)


def narrow(values: Float32, dtype: str) -> NDArray[Any]:
    """float32 rounded once, to nearest even, to a stored type.

    >>> hex(int(narrow(np.array([1.00390625], dtype=np.float32), "BF16")[0]))  # halfway: to even
    '0x3f80'
    """
    if dtype == "BF16":
        bits = np.ascontiguousarray(values).view(np.uint32)
        return ((bits + 0x7FFF + ((bits >> np.uint32(16)) & 1)) >> np.uint32(16)).astype(np.uint16)
    with np.errstate(over="ignore"):  # an overflow to infinity is found and named by the caller
        return values.astype(STORAGE[dtype], copy=False)


def is_finite(values: Float32) -> bool:
    """Whether a flat array holds neither NaN nor infinity.

    >>> is_finite(np.float32([1, 1e38])), is_finite(np.float32([1, np.inf]))
    (True, False)
    """
    with np.errstate(over="ignore", invalid="ignore"):
        length = np.dot(values, values)  # cheaper than looking at each; overflows only where they are huge
    return bool(np.isfinite(length) or np.isfinite(values).all())


class SafetensorsFile:
    """A safetensors file whose header has been checked and whose tensors are read on demand.

    Use as a context manager. Slices are read into fresh buffers rather than mapped, so resident
    memory is what the caller holds and nothing more. Several threads may read at once.

    Attributes:
        path: The file.
        tensors: Header entries by name, in the order of their bytes.

    Raises:
        EmbedmergeError: The file is missing, truncated, or its header contradicts itself.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._handle = path.open("rb")
        except OSError as error:
            msg = f"{path}: cannot be read ({error.strerror}); check the path and its permissions"
            raise EmbedmergeError(msg) from error
        try:
            self.tensors = self._read_header()
        except BaseException:
            self._handle.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._handle.close()

    def read(self, name: str, start: int = 0, stop: int | None = None) -> NDArray[Any]:
        """Elements `start` to `stop` of a tensor, flat, in stored form (bfloat16 as uint16 bits)."""
        info = self.tensors[name]
        stop = info.elements if stop is None else stop
        storage = STORAGE[info.dtype]
        elements = np.empty(stop - start, dtype=storage)
        if elements.size and not self._fill(elements.data.cast("B"), info.place(start)):
            raise self._damaged(f"tensor {name!r} ends early")
        return elements

    def read_float32(self, name: str, start: int = 0, stop: int | None = None) -> Float32:
        """Elements `start` to `stop` of a floating tensor, flat, as float32."""
        return widen(self.read(name, start, stop), self.tensors[name].dtype)

    def _fill(self, buffer: memoryview, place: int) -> bool:
        """Read at a place of the file without moving in it, so that threads may share it."""
        filled = 0
        while filled < len(buffer):
            more = os.preadv(self._handle.fileno(), [buffer[filled:]], place + filled)
            if not more:
                return False
            filled += more
        return True

    def _damaged(self, what: str) -> EmbedmergeError:
        return EmbedmergeError(f"{self.path}: damaged safetensors file, {what}; fetch or save it again")

    def _read_header(self) -> dict[str, TensorInfo]:
        size = os.fstat(self._handle.fileno()).st_size
        length = int.from_bytes(self._handle.read(8), "little")
        if size < 8 or length > min(size - 8, MAX_HEADER):
            raise self._damaged(f"a header of {length} bytes in a file of {size}")
        try:
            header = json.loads(self._handle.read(length))
        except (ValueError, RecursionError) as error:
            raise self._damaged("its header is not JSON") from error
        if not isinstance(header, dict):
            raise self._damaged("its header is not a JSON object")
        header.pop("__metadata__", None)
        infos = sorted(
            (self._entry(name, entry, 8 + length) for name, entry in header.items()), key=_position
        )
        self._check_tiling(infos, 8 + length, size)
        return {info.name: info for info in infos}

    def _entry(self, name: str, entry: Any, data_start: int) -> TensorInfo:
        try:
            dtype, shape, (begin, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
            info = TensorInfo(name, dtype, tuple(shape), data_start + begin)
            consistent = all(type(n) is int and n >= 0 for n in (*shape, begin, end))
            consistent = consistent and info.nbytes == end - begin
        except (KeyError, TypeError, ValueError) as error:
            raise self._damaged(f"the header entry of tensor {name!r} is not one") from error
        if not consistent:
            raise self._damaged(f"type, shape and offsets of tensor {name!r} disagree")
        return info

    def _check_tiling(self, infos: list[TensorInfo], position: int, size: int) -> None:
        for info in infos:
            if info.start != position:
                raise self._damaged(f"tensor {info.name!r} overlaps its neighbour or leaves a gap")
            position += info.nbytes
        if position != size:
            raise self._damaged(f"its tensors end at byte {position} of {size}")


def _position(info: TensorInfo) -> tuple[int, int]:
    # Empty tensors share their start with the next one and must come before it.
    return info.start, info.nbytes


class SafetensorsWriter:
    """Writes a safetensors file front to back and hashes it on the way.

    The header is fixed before the first tensor, so a writer holds no more than the slice it is given.

    Args:
        path: File to create.
        infos: Names, types and shapes in the order in which `append` will bring their elements.
    """

    def __init__(self, path: Path, infos: Iterable[TensorInfo]) -> None:
        header: dict[str, Any] = {"__metadata__": {"format": "pt"}}  # transformers insists on it
        end = 0
        for info in infos:
            begin, end = end, end + info.nbytes
            header[info.name] = {"dtype": info.dtype, "shape": list(info.shape), "data_offsets": [begin, end]}
        encoded = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        encoded += b" " * (-len(encoded) % 8)
        self._missing = end
        self._hash = hashlib.sha256()
        self._handle = path.open("wb")
        self._write(len(encoded).to_bytes(8, "little") + encoded)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, error_type: object, *_: object) -> None:
        try:
            if error_type is None:
                self._finish()
        finally:
            self._handle.close()

    @property
    def missing(self) -> int:
        """Number of bytes that were announced and not yet written."""
        return self._missing

    @property
    def sha256(self) -> str:
        """Digest of what has been written so far."""
        return self._hash.hexdigest()

    def append(self, elements: NDArray[Any]) -> None:
        """Write the next elements, in stored form."""
        self._missing -= elements.nbytes
        self._write(np.ascontiguousarray(elements).data.cast("B"))

    def _write(self, data: bytes | memoryview) -> None:
        self._hash.update(data)
        self._handle.write(data)

    def _finish(self) -> None:
        if self._missing:
            msg = f"{self._missing} bytes were announced in the header and not written"
            raise ValueError(msg)
        self._handle.flush()
        os.fsync(self._handle.fileno())
