"""Whatever holds documents: a BEIR folder, a table, text and Markdown files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from embedmerge.bundle.passage import Document
from embedmerge.bundle.text_folder import is_text_file, text_documents
from embedmerge.errors import EmbedmergeError
from embedmerge.retrieval.collection.checks import distinct
from embedmerge.retrieval.collection.columns import text_rows
from embedmerge.retrieval.collection.hugging_face import hugging_face_splits, is_hugging_face
from embedmerge.retrieval.collection.rows import TABLES, ending, first_of
from embedmerge.retrieval.collection.tally import Tally

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from embedmerge.bundle.remarks import Remarks
    from embedmerge.retrieval.collection.content import Row

KNOWN = "a BEIR folder, a .jsonl or .parquet file with id and text, or text and Markdown files"


class Corpus:
    """Documents, read one at a time.

    Args:
        path: A BEIR or mteb folder, a `.jsonl` or `.parquet` file with id and text, a folder of text and
            Markdown files, or one of these.
        remarks: Where what is left out is noted.
        encoding: Of text files that are no UTF-8.

    Attributes:
        of_files: Whether each document is a file, of any length.

    Raises:
        EmbedmergeError: It is nothing of the kind.
    """

    def __init__(self, path: Path, remarks: Remarks, encoding: str | None = None) -> None:
        if not path.exists():
            raise EmbedmergeError(f"{path}: no such corpus; it is {KNOWN}")
        self._path = path
        self._remarks = remarks
        self._encoding = encoding
        self._tables = _tables(path)
        self.of_files = self._tables is None
        if self.of_files and path.is_file() and not is_text_file(path):
            raise EmbedmergeError(f"{path}: no corpus; it is {KNOWN}")

    def documents(self) -> Iterator[Document]:
        """The documents in order, those without text with them.

        Raises:
            EmbedmergeError: A file is damaged, a row lacks its id or text, or an id stands for two texts.
        """
        if self._tables is None:
            yield from text_documents(self._path, self._remarks, self._encoding)
        else:
            yield from self._from_rows(self._tables)

    def _from_rows(self, tables: Iterable[Row]) -> Iterator[Document]:
        tally = Tally(self._path.name)
        for row in distinct(tables, "documents", tally):
            source = row.where.removeprefix(f"{self._path.parent}/").rpartition(":")[0]
            yield Document(row.where, row.id, row.text, row.title, source)
        for note in tally.notes:
            self._remarks.note(note)


def _tables(path: Path) -> Iterable[Row] | None:
    """The rows of a collection's corpus; None where it is none."""
    if path.is_file():
        return text_rows([path]) if ending(path, TABLES) else None
    corpus = first_of(path, "corpus", TABLES)
    if corpus.is_file():
        return text_rows([corpus])
    if is_hugging_face(path):
        return next(iter(hugging_face_splits(path).values())).documents()
    return None
