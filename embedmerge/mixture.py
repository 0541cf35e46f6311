"""Sources and coefficients to a model folder: where files and arithmetic meet."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from embedmerge.atomic import new_folder, write_bytes
from embedmerge.checkpoint.compat import not_finite
from embedmerge.checkpoint.portable import portable_files
from embedmerge.checkpoint.reading import TensorReader
from embedmerge.checkpoint.tensors import (
    FLOATING,
    SafetensorsWriter,
    TensorInfo,
    narrow,
    widen,
)
from embedmerge.errors import EmbedmergeError
from embedmerge.merging.spec import method as find_method

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from embedmerge.checkpoint.layout import Checkpoint
    from embedmerge.checkpoint.reading import TensorLocation
    from embedmerge.merging.coefficients import Coefficients

SLICE = 1 << 20  # elements held of each source at a time
STORED_DTYPES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}


@dataclass(frozen=True)
class Mixture:
    """How sources become one model.

    Attributes:
        coefficients: What each source counts for.
        method: Name of the merging method.
        parameters: Its parameters; defaults are filled in.
        dtype: `float32`, `float16`, `bfloat16`, or None to keep each tensor's type in the donor.
    """

    coefficients: Coefficients
    method: str = "linear"
    parameters: dict[str, Any] = field(default_factory=dict)
    dtype: str | None = None

    @property
    def stored_dtype(self) -> str | None:
        """The safetensors name of `dtype`.

        Raises:
            EmbedmergeError: It is none of the three.
        """
        if self.dtype is not None and self.dtype not in STORED_DTYPES:
            msg = f"dtype {self.dtype!r}: no such output type (there are: {', '.join(STORED_DTYPES)})"
            raise EmbedmergeError(msg)
        return STORED_DTYPES[self.dtype] if self.dtype else None


def write_mixture(
    sources: Sequence[Checkpoint],
    mixture: Mixture,
    target: Path,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, str]:
    """Merge sources into a new sentence-transformers folder, one slice of one tensor at a time.

    Floating tensors are combined in float32 and rounded once; integer buffers are the donor's, who is
    the first source and also gives tokenizer, modules and prompts.

    Args:
        sources: Opened sources, base first, that have passed the gate.
        mixture: Coefficients and method.
        target: Folder to create; must be absent or empty.
        progress: Called with bytes done and bytes in all.

    Returns:
        sha256 of every weight file, by place below the folder.

    Raises:
        EmbedmergeError: The target is occupied, method, parameter or type is unknown, or a source or the
            result is not finite.
    """
    merger = _Merger(sources, mixture)
    weight_files = _weight_files(sources, mixture.stored_dtype)
    count = _counter(progress, sum(tensor.info.nbytes for file in weight_files.values() for tensor in file))
    with new_folder(target) as folder:
        for place, content in portable_files(sources[0]).items():
            write_bytes(folder / place, content)
        with merger:
            return {
                place: _write_weights(folder / place, tensors, merger, count)
                for place, tensors in weight_files.items()
            }


@dataclass(frozen=True)
class _MergedTensor:
    """A tensor to write: its stored form, and where each source keeps its own, if it has one."""

    info: TensorInfo
    locations: tuple[TensorLocation | None, ...]


def _weight_files(sources: Sequence[Checkpoint], dtype: str | None) -> dict[str, list[_MergedTensor]]:
    """The donor's tensors in its order, by the file that will hold them."""
    files = {}
    for place, module in enumerate(sources[0].modules):
        tensors = [source.tensors_of(place) for source in sources]
        if tensors[0]:
            path = PurePosixPath(module.path, "model.safetensors").as_posix()
            files[path] = [
                _MergedTensor(_stored(located.info, dtype), tuple(each.get(name) for each in tensors))
                for name, located in tensors[0].items()
            ]
    return files


def _stored(info: TensorInfo, dtype: str | None) -> TensorInfo:
    changed = dtype if dtype and info.dtype in FLOATING else info.dtype
    return TensorInfo(info.name, changed, info.shape)


def _counter(progress: Callable[[int, int], None] | None, total: int) -> Callable[[int], None]:
    done = 0

    def count(more: int) -> None:
        nonlocal done
        done += more
        if progress:
            progress(done, total)

    return count


def _write_weights(
    path: Path, tensors: Sequence[_MergedTensor], merger: _Merger, count: Callable[[int], None]
) -> str:
    """Write one safetensors file slice by slice and return its digest."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with SafetensorsWriter(path, [tensor.info for tensor in tensors]) as writer:
        for tensor in tensors:
            for part in merger.parts(tensor):
                writer.append(part)
                count(part.nbytes)
    return writer.sha256


class _Merger:
    """Reads the sources and applies the method; a context that closes the files it has opened."""

    def __init__(self, sources: Sequence[Checkpoint], mixture: Mixture) -> None:
        self._names = [source.name for source in sources]
        self._spec = find_method(mixture.method)
        self._parameters = self._spec.with_defaults(mixture.parameters)
        self._coefficients = mixture.coefficients
        self._reader = TensorReader()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._reader.__exit__(*error)

    def parts(self, tensor: _MergedTensor) -> Iterator[NDArray[Any]]:
        """The merged tensor in stored form, slice after slice."""
        donor, *others = tensor.locations
        assert donor is not None
        elements = tensor.info.elements
        step = SLICE if self._spec.elementwise else max(elements, 1)
        for start in range(0, elements, step):
            part = slice(start, min(start + step, elements))
            if not tensor.info.is_floating:
                yield self._reader.read(donor, part.start, part.stop)
            elif None in others:
                yield _narrowed(self._values(0, donor, part), tensor.info)
            else:
                yield _narrowed(self._combined(tensor, part), tensor.info)

    def _combined(self, tensor: _MergedTensor, part: slice) -> NDArray[np.float32]:
        shape = (part.stop - part.start,) if self._spec.elementwise else tensor.info.shape
        located = enumerate(filter(None, tensor.locations))
        values = [self._values(source, location, part).reshape(shape) for source, location in located]
        coefficients = self._coefficients.for_tensor(tensor.info.name)
        return self._spec.combine(values, coefficients, **self._parameters).reshape(-1)

    def _values(self, source: int, location: TensorLocation, part: slice) -> NDArray[np.float32]:
        values = self._reader.read_float32(location, part.start, part.stop)
        if not np.isfinite(values).all():
            raise not_finite(self._names[source], location.info.name)
        return values


def _narrowed(values: NDArray[np.float32], info: TensorInfo) -> NDArray[Any]:
    stored = narrow(values, info.dtype)
    finite = np.isfinite(values).all() and (stored is values or np.isfinite(widen(stored, info.dtype)).all())
    if not finite:
        msg = (
            f"tensor {info.name!r} leaves the range of {info.dtype}; "
            "merge with dtype float32, or with smaller weights"
        )
        raise EmbedmergeError(msg)
    return stored
