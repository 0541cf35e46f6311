"""What a bundle is made of, and whether it still is that."""

from __future__ import annotations

from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from embedmerge.atomic import write_json
from embedmerge.bundle.chunking import Chunking  # noqa: TC001
from embedmerge.checkpoint.lineage import file_sha256, files_sha256
from embedmerge.errors import EmbedmergeError

if TYPE_CHECKING:
    from pathlib import Path

MANIFEST = "manifest.json"
PASSAGES = "documents.jsonl"
INDEX = "index"
PACKAGES = (
    "embedmerge",
    "sentence-transformers",
    "transformers",
    "tokenizers",
    "torch",
    "faiss-cpu",
    "semantic-text-splitter",
    "markdown-it-py",
)


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelFacts(_Part):
    """The model that all vectors are of.

    Attributes:
        name: What it was called.
        location: Hub id with its revision, or the way from the bundle to its folder.
        sha256: Digest over weights and module files.
        weights_sha256: Digest over the weights alone.
        pooling: How it pools.
        normalised: Whether its vectors are scaled to length one.
    """

    name: str
    location: str
    sha256: str
    weights_sha256: str
    pooling: str
    normalised: bool


class EncodingFacts(_Part):
    """How texts are encoded.

    Attributes:
        query_prompt: Put before every question.
        document_prompt: Put before every passage.
        max_seq_length: Tokens after which the model cuts a text.
        precision: Of the passages' vectors; questions are always encoded in float32.
    """

    query_prompt: str
    document_prompt: str
    max_seq_length: int | None
    precision: Literal["fp32", "bf16"]


class IndexFacts(_Part):
    """The index.

    Attributes:
        kind: What was built.
        similarity: How vectors are compared.
        dimension: Of the vectors.
        passages: Their number.
        documents: Number of documents that the passages are cut from.
    """

    kind: str
    similarity: str
    dimension: int
    passages: int
    documents: int


class Manifest(_Part):
    """Content of the manifest.

    Attributes:
        format: Of the folder.
        created: When it was first made, in UTC.
        changed: When it was last changed.
        model: The model.
        encoding: How texts are encoded.
        chunking: How documents are cut.
        index: The index.
        layouts: Libraries whose own files are beside it.
        versions: Of the libraries that wrote it.
        files: sha256 of every other file by its place in the folder.
    """

    format: Literal[1] = 1
    created: str
    changed: str
    model: ModelFacts
    encoding: EncodingFacts
    chunking: Chunking
    index: IndexFacts
    layouts: tuple[str, ...]
    versions: dict[str, str]
    files: dict[str, str]

    def write(self, folder: Path) -> None:
        """Write it into the bundle's folder."""
        write_json(folder / MANIFEST, self.model_dump())


def is_bundle(folder: Path) -> bool:
    """Whether the folder has a manifest."""
    return (folder / MANIFEST).is_file()


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a bundle, and every file of it as it says.

    Raises:
        EmbedmergeError: There is none, or a file is missing, or altered, or not the bundle's.
    """
    path = folder / MANIFEST
    try:
        manifest = Manifest.model_validate_json(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError) as error:
        raise EmbedmergeError(
            f"{path}: no such file; a bundle is a folder that `embedmerge index` made"
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        what = ".".join(map(str, first["loc"])) or "JSON"
        msg = f"{path}: damaged, or of another version of embedmerge ({what}: {first['msg']}); index again"
        raise EmbedmergeError(msg) from error
    _require_files(folder, manifest)
    return manifest


def digests(folder: Path) -> dict[str, str]:
    """sha256 of every file of a bundle but the manifest."""
    return files_sha256(folder, (path for path in _files(folder) if path != folder / MANIFEST))


def versions() -> dict[str, str]:
    """Of the libraries that vectors and passages depend on."""
    return {name: version(name) for name in PACKAGES}


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def require_nothing_else(folder: Path, manifest: Manifest) -> None:
    """Refuse to replace a folder that somebody has put own files into.

    Raises:
        EmbedmergeError: Names the first.
    """
    known = {folder / MANIFEST, *(folder / name for name in manifest.files)}
    for path in _files(folder):
        if path not in known:
            msg = f"{path}: not a file of the bundle, which is replaced as a whole; move it elsewhere first"
            raise EmbedmergeError(msg)


def _require_files(folder: Path, manifest: Manifest) -> None:
    for name, digest in manifest.files.items():
        path = folder / name
        if not path.is_file():
            raise EmbedmergeError(f"{path}: missing, though {MANIFEST} lists it; index the corpus again")
        found = file_sha256(path)
        if found != digest:
            msg = f"{path}: altered, its sha256 is {found[:12]} and not {digest[:12]}; index the corpus again"
            raise EmbedmergeError(msg)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if not path.is_dir())
