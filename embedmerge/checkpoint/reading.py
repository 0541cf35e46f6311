"""The values of located tensors, whatever kind of file holds them."""

from __future__ import annotations

from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from embedmerge.checkpoint.tensors import SafetensorsFile, narrow, widen
from embedmerge.checkpoint.torch_file import TorchFile

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from embedmerge.checkpoint.tensors import TensorInfo

    Float32 = NDArray[np.float32]
    Float64 = NDArray[np.float64]

PRODUCT_ELEMENTS = 1 << 18  # elements of a low-rank product held at a time


@dataclass(frozen=True)
class LowRank:
    """A product `scale * B @ A` that is added to a matrix (LoRA, arXiv 2106.09685, section 4.1).

    Attributes:
        a: The factor A, rank x inputs.
        b: The factor B, outputs x rank.
        scale: What the product is multiplied by.
        transposed: Whether the matrix is stored as inputs x outputs, as embedding tables are.
    """

    a: TensorLocation
    b: TensorLocation
    scale: float
    transposed: bool = False


@dataclass(frozen=True)
class TensorLocation:
    """A tensor and where it lies.

    Attributes:
        file: The file that holds it.
        info: Its name as the merged model knows it, type and shape.
        stored: Its name in the file.
        update: What an adapter adds to what the file holds.
    """

    file: Path
    info: TensorInfo
    stored: str
    update: LowRank | None = None


def open_weights(path: Path) -> SafetensorsFile | TorchFile:
    """A weights file of either kind, told by its ending; use as a context manager.

    Raises:
        EmbedmergeError: The file is missing or damaged.
    """
    return SafetensorsFile(path) if path.suffix == ".safetensors" else TorchFile(path)


class TensorReader:
    """Reads located tensors and keeps the files it has opened; use as a context manager.

    Several threads may read at once.
    """

    def __init__(self) -> None:
        self._opening = Lock()
        self._files: dict[Path, SafetensorsFile | TorchFile] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        for file in self._files.values():
            file.__exit__(*error)
        self._files.clear()

    def read(self, location: TensorLocation, start: int = 0, stop: int | None = None) -> NDArray[Any]:
        """Elements `start` to `stop` of a tensor, flat, in stored form (bfloat16 as uint16 bits).

        A tensor with an update is rounded to the type of the tensor below it.
        """
        if location.update:
            return narrow(self.read_float32(location, start, stop), location.info.dtype)
        return self._file(location.file).read(location.stored, start, stop)

    def read_float32(self, location: TensorLocation, start: int = 0, stop: int | None = None) -> Float32:
        """Elements `start` to `stop` of a floating tensor, flat, as float32.

        Of an update only the rows that the slice touches are computed, in float64, so that the sum is
        rounded once and does not depend on how the tensor is cut.
        """
        values = widen(self._file(location.file).read(location.stored, start, stop), location.info.dtype)
        if location.update:
            values = values.copy()  # a mapped file may have lent them
            with np.errstate(over="ignore", invalid="ignore"):  # the caller finds and names infinity
                for at, part in self._update(location.update, location.info.shape[1], start, values.size):
                    values[at : at + part.size] += part
        return values

    def _update(
        self, update: LowRank, columns: int, start: int, elements: int
    ) -> Iterator[tuple[int, Float64]]:
        """Parts of a flat slice of the product, each with its place in the slice."""
        stop = start + elements
        first, last = start // columns, -(-stop // columns)
        left, right = self._factors(update, first, last)
        step = max(PRODUCT_ELEMENTS // columns, 1)
        for row in range(first, last, step):
            part = (left[row - first : row - first + step] @ right).reshape(-1)
            at = row * columns - start
            yield max(at, 0), part[max(-at, 0) : elements - at]

    def _factors(self, update: LowRank, first: int, last: int) -> tuple[Float64, Float64]:
        """The two factors of rows `first` to `last` of the matrix, scaled."""
        a, b = update.a, update.b
        rank, inputs = a.info.shape
        if not update.transposed:
            rows = self.read_float32(b, first * rank, last * rank).reshape(-1, rank)
            return update.scale * rows.astype(np.float64), self._matrix(a)
        columns = [self.read_float32(a, at * inputs + first, at * inputs + last) for at in range(rank)]
        return update.scale * np.stack(columns, axis=1).astype(np.float64), self._matrix(b).T

    def _matrix(self, location: TensorLocation) -> Float64:
        return self.read_float32(location).reshape(location.info.shape).astype(np.float64)

    def _file(self, path: Path) -> SafetensorsFile | TorchFile:
        with self._opening:
            if path not in self._files:
                self._files[path] = open_weights(path)
            return self._files[path]
