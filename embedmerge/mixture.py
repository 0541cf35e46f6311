"""Sources and coefficients to a model folder: where files and arithmetic meet."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from embedmerge.atomic import new_folder
from embedmerge.checkpoint.compat import not_finite
from embedmerge.checkpoint.portable import portable_files
from embedmerge.checkpoint.tensors import FLOATING, SafetensorsFile, SafetensorsWriter, TensorInfo, narrow
from embedmerge.errors import EmbedmergeError
from embedmerge.merging.spec import method as find_method

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from embedmerge.checkpoint.layout import Checkpoint, TensorLocation
    from embedmerge.merging.coefficients import Coefficients

SLICE = 1 << 20  # elements held of each source at a time


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
        """The safetensors name of `dtype`."""
        return {"float32": "F32", "float16": "F16", "bfloat16": "BF16", None: None}[self.dtype]


def write_mixture(
    sources: Sequence[Checkpoint],
    mixture: Mixture,
    target: Path,
    *,
    extra_files: dict[str, bytes] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, str]:
    """Merge sources into a new sentence-transformers folder, one slice of one tensor at a time.

    Floating tensors are combined in float32 and rounded once; integer buffers are the donor's, who is
    the first source and also gives tokenizer, modules and prompts.

    Args:
        sources: Opened sources, base first, that have passed the gate.
        mixture: Coefficients and method.
        target: Folder to create; must be absent or empty.
        extra_files: Further files by place below the folder, such as the model card.
        progress: Called with bytes done and bytes in all.

    Returns:
        sha256 of every weight file, by place below the folder.

    Raises:
        EmbedmergeError: The target is occupied, or a source or the result is not finite.
    """
    spec = find_method(mixture.method)
    parameters = spec.with_defaults(mixture.parameters)
    donor = sources[0]
    digests: dict[str, str] = {}
    total = sum(tensor.info.nbytes for module in donor.tensors.values() for tensor in module.values())
    done = 0
    with new_folder(target) as folder, ExitStack() as stack:
        for place, content in {**portable_files(donor), **(extra_files or {})}.items():
            path = folder / place
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        files = _OpenFiles(stack)
        for module in donor.tensors:
            path = folder / module / "model.safetensors"
            path.parent.mkdir(parents=True, exist_ok=True)
            infos = [_stored(tensor.info, mixture.stored_dtype) for tensor in donor.tensors[module].values()]
            with SafetensorsWriter(path, infos) as writer:
                for info in infos:
                    located = [source.tensors[module].get(info.name) for source in sources]
                    elements = _MergedTensor(files, sources, located, info, mixture, spec.elementwise)
                    for part in elements.parts(spec.combine, parameters):
                        writer.append(part)
                        done += part.nbytes
                        if progress:
                            progress(done, total)
            digests[path.relative_to(folder).as_posix()] = writer.sha256
    return digests


def _stored(info: TensorInfo, dtype: str | None) -> TensorInfo:
    changed = dtype if dtype and info.dtype in FLOATING else info.dtype
    return TensorInfo(info.name, changed, info.shape)


class _OpenFiles:
    """Safetensors files opened once each, closed with the stack."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._files: dict[Path, SafetensorsFile] = {}

    def __getitem__(self, path: Path) -> SafetensorsFile:
        if path not in self._files:
            self._files[path] = self._stack.enter_context(SafetensorsFile(path))
        return self._files[path]


@dataclass(frozen=True)
class _MergedTensor:
    files: _OpenFiles
    sources: Sequence[Checkpoint]
    located: Sequence[TensorLocation | None]
    info: TensorInfo
    mixture: Mixture
    elementwise: bool

    def parts(self, combine: Callable[..., Any], parameters: dict[str, Any]) -> Iterator[NDArray[Any]]:
        """The merged tensor in stored form, slice after slice."""
        donor = self.located[0]
        assert donor is not None
        step = SLICE if self.elementwise else max(self.info.elements, 1)
        for start in range(0, self.info.elements, step):
            stop = min(start + step, self.info.elements)
            if None in self.located or not self.info.is_floating:
                yield self._donors(donor, start, stop)
            else:
                yield self._combined(combine, parameters, start, stop)

    def _donors(self, donor: TensorLocation, start: int, stop: int) -> NDArray[Any]:
        if not self.info.is_floating:
            return self.files[donor.file].read(self.info.name, start, stop)
        return narrow(self.files[donor.file].read_float32(self.info.name, start, stop), self.info.dtype)

    def _combined(
        self, combine: Callable[..., Any], parameters: dict[str, Any], start: int, stop: int
    ) -> NDArray[Any]:
        shape = (stop - start,) if self.elementwise else self.info.shape
        values = [self._values(index, start, stop).reshape(shape) for index in range(len(self.sources))]
        merged = combine(values, self.mixture.coefficients.for_tensor(self.info.name), **parameters)
        stored = narrow(merged.reshape(-1), self.info.dtype)
        if not np.isfinite(merged).all() or (self.info.dtype == "F16" and not np.isfinite(stored).all()):
            raise self._overflow()
        return stored

    def _values(self, index: int, start: int, stop: int) -> NDArray[np.float32]:
        location = self.located[index]
        assert location is not None
        values = self.files[location.file].read_float32(self.info.name, start, stop)
        if not np.isfinite(values).all():
            raise not_finite(self.sources[index].name, self.info.name)
        return values

    def _overflow(self) -> EmbedmergeError:
        wanted = self.mixture.dtype or self.info.dtype
        return EmbedmergeError(
            f"tensor {self.info.name!r} leaves the range of {wanted}; merge with dtype float32"
        )
