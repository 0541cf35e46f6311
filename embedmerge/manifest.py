"""embedmerge.json: what a merged model was made from, how, and the sha256 of every file of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import embedmerge
from embedmerge.atomic import write_json
from embedmerge.checkpoint.lineage import SHA256, combined_sha256, file_sha256, files_sha256
from embedmerge.checkpoint.text_files import read_bytes, read_json
from embedmerge.errors import EmbedmergeError
from embedmerge.merging.coefficients import Coefficients
from embedmerge.mixture import Mixture
from embedmerge.statistics.text import texts_sha256

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from embedmerge.checkpoint.reading import TensorLocation
    from embedmerge.mixture import Written
    from embedmerge.sources import Source
    from embedmerge.statistics.text import Text

NAME = "embedmerge.json"
FORMAT = 1

Setting = float | list[float] | dict[str, float | list[float]]
# How pydantic reads it back; writing does without pydantic.
STRICT: dict[str, Any] = {"extra": "forbid", "strict": True}


@dataclass(frozen=True)
class SourceEntry:
    """A source of a merged model.

    Attributes:
        name: Name in weights and reports.
        role: `base`, `target` or `peer`.
        location: Hub id or folder as the user gave it; the folder's name alone in what is published.
        revision: Commit of a hub id, None for a folder.
        sha256: Digest over `files`, as in `checkpoint.lineage.weights_sha256`.
        files: sha256 of every weight file, by its place below the source's folder.
        pooling: What the user has said of the base's pooling, where its files do not.
        normalise: Likewise of its normalisation.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    name: str
    role: Literal["base", "target", "peer"]
    location: str
    revision: str | None
    sha256: str
    files: dict[str, str]
    pooling: str | None = None
    normalise: bool | None = None


@dataclass(frozen=True)
class Manifest:
    """What a merged model was made from and what it is made of.

    Attributes:
        format: Version of this format.
        tool: `embedmerge` and its version.
        method: Merging method.
        parameters: Its parameters, every default filled in.
        modifiers: What was done to its result, as far as it is not the default.
        weights: Weight of every source, base first.
        weights_by_tensor: Weights of experts that differ from tensor to tensor.
        dtype: Type of the merged tensors, None for the base's.
        shard_bytes: Size from which on a file of weights was cut.
        sources: Base first.
        modules: sha256 of the files that the base gave beside its weights, by place below its folder.
        files: sha256 of every file of the merged model but this one, by place below its folder.
        texts: sha256 of the texts that statistics were gathered from, None for a method without.
        statistics: sha256 of the statistics of each source, by its name; empty for a method without.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    format: int
    tool: str
    method: str
    parameters: dict[str, Any]
    modifiers: dict[str, Any]
    weights: dict[str, float]
    weights_by_tensor: dict[str, Setting]
    dtype: str | None
    shard_bytes: int
    sources: list[SourceEntry]
    modules: dict[str, str]
    files: dict[str, str]
    texts: str | None = None
    statistics: dict[str, str] = field(default_factory=dict)

    @property
    def mixture(self) -> Mixture:
        """The merge that was made.

        Raises:
            EmbedmergeError: The weights are none that a merge may have.
        """
        coefficients = Coefficients.explicit(list(self.weights), list(self.weights.values()))
        if self.weights_by_tensor:
            coefficients = coefficients.with_experts(self.weights_by_tensor)
        parameters = {**self.parameters, **self.modifiers}
        return Mixture(coefficients, self.method, parameters, self.dtype, self.shard_bytes)

    def covering(self, folder: Path) -> Manifest:
        """The same of a folder that more files were laid into."""
        return replace(self, files=_files(folder, self.files))

    def write(self, folder: Path) -> None:
        """Write it into the model's folder; the same merge gives the same bytes."""
        write_json(folder / NAME, asdict(self))


def manifest_of(
    folder: Path,
    mixture: Mixture,
    sources: Sequence[Source],
    written: Written,
    *,
    texts: Sequence[Text] = (),
    statistics: Sequence[dict[str, TensorLocation]] | None = None,
    location: Callable[[Source], str] = lambda source: source.checkpoint.location.given,
) -> Manifest:
    """The manifest of a model whose files are all there.

    Args:
        folder: The merged model; everything in it but a manifest is recorded.
        mixture: How it was merged.
        sources: Base first.
        written: Digests taken while merging.
        texts: What statistics were gathered from; not recorded without these.
        statistics: Of every source, as the merge was given them.
        location: What is said of where a source lies.
    """
    arithmetic = mixture.arithmetic
    donor = sources[0].checkpoint
    return Manifest(
        format=FORMAT,
        tool=f"embedmerge {embedmerge.__version__}",
        method=mixture.method,
        parameters=arithmetic.parameters,
        modifiers=arithmetic.modifiers.changed,
        weights=mixture.coefficients.weights,
        weights_by_tensor=dict(mixture.coefficients.by_tensor or {}),
        dtype=mixture.dtype,
        shard_bytes=mixture.shard_bytes,
        sources=[_entry(source, written, location(source)) for source in sources],
        modules=files_sha256(donor.folder, donor.module_files()),
        files=_files(folder, written.outputs),
        texts=None if statistics is None else texts_sha256(texts),
        statistics=statistics_sha256([source.name for source in sources], statistics or ()),
    )


def statistics_sha256(
    names: Sequence[str], statistics: Sequence[dict[str, TensorLocation]]
) -> dict[str, str]:
    """sha256 of the statistics of each source that has some, by its name; empty where there are none."""
    files = {
        name: {location.file for location in located.values()}
        for name, located in zip(names, statistics, strict=False)
    }
    return {
        name: combined_sha256({path.name: file_sha256(path) for path in paths})
        for name, paths in files.items()
        if paths
    }


def _entry(source: Source, written: Written, location: str) -> SourceEntry:
    checkpoint, spec = source.checkpoint, source.spec
    paths = zip(checkpoint.weight_places(), checkpoint.weight_files(), strict=True)
    files = {place: written.inputs[path] for place, path in paths}
    return SourceEntry(
        name=source.name,
        role=source.role,
        location=location,
        revision=checkpoint.location.revision,
        sha256=combined_sha256(files),
        files=files,
        pooling=spec.pooling,
        normalise=spec.normalise,
    )


def _files(folder: Path, known: dict[str, str]) -> dict[str, str]:
    places = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    unknown = [path for place, path in places.items() if place not in known and place != NAME]
    return dict(sorted({**files_sha256(folder, unknown), **known}.items()))


def read_manifest(folder: Path) -> Manifest:
    """The manifest in a model's folder. It is data from strangers: nothing in it is taken on trust.

    Raises:
        EmbedmergeError: There is none, or it is damaged, of another format, or names a file outside.
    """
    path = folder / NAME
    if not folder.is_dir():
        raise EmbedmergeError(f"{folder}: no such folder; name a model that embedmerge has written")
    if not path.is_file():
        raise EmbedmergeError(f"{folder}: no {NAME} in it; only what embedmerge has written can be verified")
    content = read_json(path)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        stated = content.get("format") if isinstance(content, dict) else None
        msg = f"{path}: format {stated!r}, this version reads format {FORMAT}; was it written by embedmerge?"
        raise EmbedmergeError(msg)
    manifest = _validated(path)
    _require_sound(manifest, path)
    return manifest


def _validated(path: Path) -> Manifest:
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(Manifest).validate_json(read_bytes(path))
    except ValidationError as error:
        fault = error.errors()[0]
        key = ".".join(map(str, fault["loc"]))
        raise EmbedmergeError(f"{path}: {key}: {fault['msg']}; the manifest is damaged") from error


def _require_sound(manifest: Manifest, path: Path) -> None:
    for place, digest in manifest.files.items():
        if not _is_below(place):
            raise EmbedmergeError(f"{path}: names {place!r}, which is not below the model's folder")
        if not SHA256.fullmatch(digest):
            raise EmbedmergeError(f"{path}: {digest!r} is no sha256 (of {place!r}); the manifest is damaged")
    names = [source.name for source in manifest.sources]
    if list(manifest.weights) != names or len(set(names)) < max(len(names), 2):
        raise EmbedmergeError(f"{path}: its weights and its sources have different names; it is damaged")
    if manifest.sources[0].role != "base":
        raise EmbedmergeError(f"{path}: its first source is not the base; the manifest is damaged")


def _is_below(place: str) -> bool:
    parts = PurePosixPath(place)
    plain = not {"\\", "\0"} & set(place) and place == parts.as_posix() and place != "."
    return plain and not parts.is_absolute() and ".." not in parts.parts
