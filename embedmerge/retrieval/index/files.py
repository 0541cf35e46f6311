"""An index in a folder: a plain FAISS file, and a JSON file with everything else."""

from __future__ import annotations

import hashlib
import os
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from embedmerge.atomic import new_file, new_folder, write_json
from embedmerge.errors import EmbedmergeError
from embedmerge.retrieval.index.recall import Recall  # noqa: TC001
from embedmerge.retrieval.index.searching import Search
from embedmerge.retrieval.index.settings import BuiltKind, IndexSettings  # noqa: TC001
from embedmerge.retrieval.index.vector_index import VectorIndex

VectorsFile = Literal["index.faiss", "index.next.faiss"]

TABLE = "index.json"
# The second is for an index that replaces one under the first: until the table names it, the old one counts.
VECTORS: tuple[VectorsFile, VectorsFile] = ("index.faiss", "index.next.faiss")


class Table(BaseModel):
    """What the JSON file says.

    Attributes:
        format: Of the folder.
        file: The FAISS file beside it.
        sha256: Of that file.
        model: Digest of the model that the vectors are of.
        kind: What was built.
        settings: What was asked for.
        dimension: Of the vectors.
        vectors: Their number.
        longest: Their largest L2 norm.
        recall: As it was measured.
        faiss: Version that wrote the file.
        ids: Id by row.
    """

    model_config = ConfigDict(extra="forbid")

    format: Literal[1]
    file: VectorsFile
    sha256: str
    model: str
    kind: BuiltKind
    settings: IndexSettings
    dimension: int
    vectors: int
    longest: float
    recall: Recall | None
    faiss: str
    ids: list[str]


def save(index: VectorIndex, folder: Path) -> None:
    """Write an index; a process that is killed leaves the old one or the new one.

    Raises:
        EmbedmergeError: The folder holds something else, or cannot be written.
    """
    folder = Path(folder)
    built = index.built
    try:
        if not (folder / TABLE).is_file():
            with new_folder(folder) as beside:
                _write(index, built, beside, VECTORS[0])
            return
        kept = _read_table(folder).file
        _write(index, built, folder, VECTORS[1] if kept == VECTORS[0] else VECTORS[0])
        (folder / kept).unlink(missing_ok=True)
    except (OSError, RuntimeError) as error:  # FAISS's own are RuntimeErrors
        raise EmbedmergeError(f"{folder}: the index cannot be written ({_line(error)})") from error


def load(folder: Path, model: str | None = None) -> VectorIndex:
    """Read an index.

    Raises:
        EmbedmergeError: A file is missing or damaged, or the index is of another model.
    """
    folder = Path(folder)
    table = _read_table(folder)
    if model is not None and model != table.model:
        msg = (
            f"{folder}: built with model {table.model[:16] or 'unknown'}, not {model[:16]}; "
            "search it with the model it was built with, or index the corpus again"
        )
        raise EmbedmergeError(msg)
    index = VectorIndex(table.settings, table.model)
    vectors = _read_vectors(folder, table)
    built = Search(vectors, table.kind, table.settings.similarity, table.ids, table.longest)
    index.restore(built, table.recall)
    return index


def _write(index: VectorIndex, built: Search, folder: Path, name: VectorsFile) -> None:
    import faiss

    with new_file(folder / name) as beside:
        faiss.write_index(built.index, str(beside))
        with beside.open("rb") as handle:
            os.fsync(handle.fileno())
    table = Table(
        format=1,
        file=name,
        sha256=_digest(folder / name),
        model=index.model,
        kind=built.kind,
        settings=index.settings,
        dimension=built.index.d,
        vectors=len(built.ids),
        longest=built.longest,
        recall=index.recall,
        faiss=version("faiss-cpu"),
        ids=list(built.ids),
    )
    write_json(folder / TABLE, table.model_dump())


def _read_table(folder: Path) -> Table:
    path = folder / TABLE
    try:
        return Table.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise EmbedmergeError(f"{path}: no such file; an index is a folder that holds it") from error
    except (OSError, ValueError) as error:
        raise EmbedmergeError(f"{path}: damaged; index the corpus again") from error


def _read_vectors(folder: Path, table: Table) -> Any:
    """The FAISS index; not handed to FAISS before its digest is right, as a damaged file can crash it."""
    import faiss

    path = folder / table.file
    if not path.is_file():
        raise EmbedmergeError(f"{path}: no such file, though {TABLE} names it; index the corpus again")
    if _digest(path) != table.sha256:
        msg = f"{path}: damaged, its sha256 is not the one in {TABLE}; index the corpus again"
        raise EmbedmergeError(msg)
    index = faiss.read_index(str(path))
    if (index.d, index.ntotal, len(table.ids)) != (table.dimension, table.vectors, table.vectors):
        msg = f"{folder / TABLE}: damaged, it contradicts {table.file}; index the corpus again"
        raise EmbedmergeError(msg)
    return index


def _digest(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
