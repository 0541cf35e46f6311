"""Sources and coefficients to a model folder: where files and arithmetic meet."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from embedmerge.atomic import new_folder, write_bytes
from embedmerge.checkpoint.compat import not_finite
from embedmerge.checkpoint.lineage import FollowingDigest, require_as_fetched
from embedmerge.checkpoint.portable import portable_files
from embedmerge.checkpoint.reading import TensorReader
from embedmerge.checkpoint.tensors import FLOATING, STORAGE, TensorInfo, is_finite, narrow, widen
from embedmerge.checkpoint.torch_file import write_torch_file
from embedmerge.checkpoint.writing import ShardedWriter
from embedmerge.errors import EmbedmergeError
from embedmerge.merging.anatomy import Site
from embedmerge.merging.parallel import Workers
from embedmerge.merging.streaming import HELD, Arithmetic, Streaming

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from embedmerge.checkpoint.layout import Checkpoint
    from embedmerge.checkpoint.reading import TensorLocation
    from embedmerge.merging.coefficients import Coefficients

    Float32 = NDArray[np.float32]

STORED_DTYPES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}
LAG = 1 << 23  # bytes read and not yet digested, small enough to be still in memory
SHARD_BYTES = 5_000_000_000
COPIED = 1 << 22  # elements of an integer buffer that are held at a time


@dataclass(frozen=True)
class Mixture:
    """How sources become one model.

    Attributes:
        coefficients: What each source counts for.
        method: Name of the merging method.
        parameters: Its parameters and modifiers; defaults are filled in.
        dtype: `float32`, `float16`, `bfloat16`, or None to keep each tensor's type in the donor.
        shard_bytes: Size from which on a file of weights is cut into several.
    """

    coefficients: Coefficients
    method: str = "linear"
    parameters: dict[str, Any] = field(default_factory=dict)
    dtype: str | None = None
    shard_bytes: int = SHARD_BYTES

    @cached_property
    def arithmetic(self) -> Arithmetic:
        """The method with everything set.

        Raises:
            EmbedmergeError: An unknown method or parameter, a bad value, or too few or too many experts.
        """
        return Arithmetic.of(self.method, self.parameters, self.coefficients)

    def require_valid(self) -> None:
        """Refuse what can be refused before a source is opened.

        Raises:
            EmbedmergeError: As `arithmetic` and `stored_dtype`.
        """
        _ = self.arithmetic, self.stored_dtype

    @property
    def changed(self) -> dict[str, Any]:
        """Parameters and modifiers that are not the default."""
        arithmetic = self.arithmetic
        defaults = arithmetic.spec.with_defaults({})
        own = {key: value for key, value in arithmetic.parameters.items() if value != defaults[key]}
        return {**own, **arithmetic.modifiers.changed}

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


@dataclass(frozen=True)
class Written:
    """What a merge has read and written.

    Attributes:
        outputs: sha256 of every weight file written, by place below the folder.
        inputs: sha256 of every weight file read, by its path.
    """

    outputs: dict[str, str]
    inputs: dict[Path, str]


def write_mixture(
    sources: Sequence[Checkpoint],
    mixture: Mixture,
    target: Path,
    *,
    statistics: Sequence[dict[str, TensorLocation]] | None = None,
    finish: Callable[[Path, Written], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Written:
    """Merge sources into a new sentence-transformers folder, a few slices of tensors at a time.

    Floating tensors are combined in float32 and rounded once; integer buffers are the donor's, who is
    the first source and also gives tokenizer, modules and prompts.

    Args:
        sources: Opened sources, base first, that have passed the gate.
        mixture: Coefficients and method.
        target: Folder to create; must be absent or empty.
        statistics: Of every source, by name of the tensor, for a method that needs them; a tensor of
            which a source that counts has none is averaged.
        finish: Called with the folder, before it takes the target's name, and with what has been done.
        progress: Called with elements done and elements in all.

    Raises:
        EmbedmergeError: The target is occupied, method, parameter or type is unknown, or a source or the
            result is not finite.
    """
    mixture.require_valid()
    modules, heads = _modules(sources, mixture.stored_dtype), _heads(sources, mixture.stored_dtype)
    everything = [tensor for tensors in (*modules.values(), *heads.values()) for tensor in tensors]
    with new_folder(target) as folder, _Merger(sources, mixture, everything, statistics, progress) as merger:
        for place, content in portable_files(sources[0], mixture.dtype).items():
            write_bytes(folder / place, content)
        merger.survey()
        outputs: dict[str, str] = {}
        for module_path, tensors in modules.items():
            infos = [tensor.info for tensor in tensors]
            beside = folder / module_path
            beside.mkdir(parents=True, exist_ok=True)
            with ShardedWriter(beside, infos, mixture.shard_bytes) as writer:
                for elements in merger.merged(tensors):
                    writer.append(elements)
            written = writer.sha256.items()
            outputs.update({PurePosixPath(module_path, name).as_posix(): digest for name, digest in written})
        for file, tensors in heads.items():
            values = {tensor.stored: merger.whole(tensor) for tensor in tensors}
            outputs[file] = write_torch_file(folder / file, values, [tensor.info for tensor in tensors])
        done = Written(outputs, merger.inputs())
        if finish:
            finish(folder, done)
        return done


@dataclass(frozen=True)
class _Merged:
    """A tensor to write: its stored form, its place in the model, and where each source keeps its own."""

    info: TensorInfo
    site: Site
    locations: tuple[TensorLocation | None, ...]

    @property
    def stored(self) -> str:
        """Its name in the donor's file."""
        assert self.locations[0] is not None
        return self.locations[0].stored

    @property
    def is_merged(self) -> bool:
        """Whether it is in every source and may be averaged; the donor's is taken otherwise."""
        return self.info.is_floating and None not in self.locations


def _modules(sources: Sequence[Checkpoint], dtype: str | None) -> dict[str, list[_Merged]]:
    """The tensors of the donor's modules in its order, by the module's path."""
    donor = sources[0]
    modules = {}
    for place, module in enumerate(donor.modules):
        located = [source.tensors_of(place) for source in sources]
        head = None if module.kind == "Transformer" else f"{module.path}/"
        modules[module.path] = _side_by_side(located, donor.depth or 0, dtype, head)
    return {path: tensors for path, tensors in modules.items() if tensors}


def _heads(sources: Sequence[Checkpoint], dtype: str | None) -> dict[str, list[_Merged]]:
    """The tensors of the donor's further heads, by the file that FlagEmbedding keeps them in."""
    return {
        file: _side_by_side([source.heads.get(file, {}) for source in sources], 0, dtype, "")
        for file in sources[0].heads
    }


def _side_by_side(
    located: Sequence[dict[str, TensorLocation]], depth: int, dtype: str | None, head: str | None
) -> list[_Merged]:
    """The donor's tensors and where each source keeps its own; `head` goes before a head's names."""
    return [
        _Merged(
            _stored(own.info, dtype),
            Site.of(f"{head or ''}{own.info.name}", own.info.shape, depth, head=head is not None),
            tuple(each.get(name) for each in located),
        )
        for name, own in located[0].items()
    ]


def _stored(info: TensorInfo, dtype: str | None) -> TensorInfo:
    changed = dtype if dtype and info.dtype in FLOATING else info.dtype
    return TensorInfo(info.name, changed, info.shape)


class _Merger:
    """Reads the sources and applies the method; a context that closes what it has opened."""

    def __init__(
        self,
        sources: Sequence[Checkpoint],
        mixture: Mixture,
        tensors: Sequence[_Merged],
        statistics: Sequence[dict[str, TensorLocation]] | None,
        progress: Callable[[int, int], None] | None,
    ) -> None:
        self._sources = sources
        self._tensors = {tensor.site: tensor for tensor in tensors}
        self._statistics = statistics
        self._spec = mixture.arithmetic.spec
        self._progress = progress
        self._done, self._total = 0, sum(tensor.info.elements for tensor in self._tensors.values())
        self._stack = ExitStack()
        self._reader = self._stack.enter_context(TensorReader())
        self._workers = self._stack.enter_context(Workers())
        self._streaming = Streaming(
            mixture.arithmetic,
            [source.name for source in sources],
            self._read,
            self._workers,
            self._read_statistics if statistics is not None else None,
            HELD,
            lambda site, values: _narrowed(values, self._tensors[site].info),
        )
        self._digests = {
            path: self._stack.enter_context(FollowingDigest(path))
            for source in sources
            for path in source.weight_files()
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.__exit__(*error)  # type: ignore[arg-type]

    def survey(self) -> None:
        """Look at the whole model first, where the method has to."""
        sites = [site for site, tensor in self._tensors.items() if tensor.is_merged]
        for survey, group, _ in self._streaming.model_surveys(sites):
            self._total += survey.passes * sum(site.elements for site in group)
        self._streaming.survey_model(sites, self._count)

    def merged(self, tensors: Sequence[_Merged]) -> Iterator[NDArray[Any]]:
        """The tensors in stored form, slice after slice."""
        merged = self._streaming.slices(tensor.site for tensor in tensors if tensor.is_merged)
        for tensor in tensors:
            if not tensor.is_merged:
                yield from self._copied(tensor)
                continue
            missing = tensor.info.elements
            while missing:
                _, start, values = next(merged)
                missing -= values.size
                yield values
                self._follow(tensor, start + values.size)
                self._count(values.size)

    def whole(self, tensor: _Merged) -> NDArray[Any]:
        """One tensor in stored form, flat."""
        nothing = np.empty(0, STORAGE[tensor.info.dtype])  # a tensor may have no elements
        return np.concatenate([nothing, *self.merged([tensor])])

    def inputs(self) -> dict[Path, str]:
        """Digest of every file read.

        Raises:
            EmbedmergeError: A file of the hub's cache is not what the hub gave.
        """
        finished = self._workers.in_order(digest.finish for digest in self._digests.values())
        digests = dict(zip(self._digests, finished, strict=True))
        for path, digest in digests.items():
            require_as_fetched(path, digest)
        return digests

    def _copied(self, tensor: _Merged) -> Iterator[NDArray[Any]]:
        donor = tensor.locations[0]
        assert donor is not None
        for start in range(0, tensor.info.elements, COPIED):
            stop = min(start + COPIED, tensor.info.elements)
            if tensor.info.is_floating:
                yield _narrowed(self._read(tensor.site, 0, start, stop), tensor.info)
            else:
                yield self._reader.read(donor, start, stop)
            self._count(stop - start)

    def _read(self, site: Site, source: int, start: int, stop: int) -> Float32:
        location = self._tensors[site].locations[source]
        assert location is not None
        values = self._reader.read_float32(location, start, stop)
        if not is_finite(values):
            raise not_finite(self._sources[source].name, location.info.name)
        return values

    def _read_statistics(self, site: Site, source: int, start: int, stop: int) -> Float32 | None:
        assert self._statistics is not None
        location = self._statistics[source].get(site.name)
        if location is None:
            return None
        whole = self._spec.statistics == "gram"
        return self._reader.read_float32(location, *((0, None) if whole else (start, stop)))

    def _follow(self, tensor: _Merged, stop: int) -> None:
        """Digest the sources' bytes while they are still in memory."""
        places = {location.file: location.info.place(stop) for location in tensor.locations if location}
        behind = [
            partial(self._digests[file].follow, place)
            for file, place in places.items()
            if self._digests[file].lag(place) >= LAG
        ]
        for _ in self._workers.in_order(behind):
            pass

    def _count(self, elements: int) -> None:
        self._done += elements
        if self._progress:
            self._progress(self._done, self._total)


def _narrowed(values: Float32, info: TensorInfo) -> NDArray[Any]:
    stored = narrow(values, info.dtype)
    finite = is_finite(values) and (stored is values or is_finite(widen(stored, info.dtype)))
    if not finite:
        msg = (
            f"tensor {info.name!r} leaves the range of {info.dtype}; "
            "merge with dtype float32, or with smaller weights"
        )
        raise EmbedmergeError(msg)
    return stored
