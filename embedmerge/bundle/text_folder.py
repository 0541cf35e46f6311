"""A folder of text and Markdown files as a corpus, each file a document."""

from __future__ import annotations

import codecs
import os
from pathlib import Path
from typing import TYPE_CHECKING

from embedmerge.bundle.passage import Document
from embedmerge.errors import EmbedmergeError
from embedmerge.retrieval.well_formed import well_formed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from embedmerge.bundle.remarks import Remarks

MARKDOWN = (".md", ".markdown")
TEXT = (*MARKDOWN, ".txt", ".text", ".rst")
# The longer mark of UTF-32 begins with that of UTF-16.
MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def text_documents(path: Path, remarks: Remarks, encoding: str | None = None) -> Iterator[Document]:
    """Documents of all text files in and below a folder, by name; or of one file.

    A document's id is its place from the folder on, which stays the same when the file is changed. Hidden
    files and folders are left out. A file in an encoding that it does not state is left out rather than
    guessed at, and so is a binary one; `remarks` names them.

    Args:
        path: Folder or file.
        remarks: Where files that are left out are noted.
        encoding: Of files that are no UTF-8 and begin with no byte order mark.

    Raises:
        EmbedmergeError: No such encoding, or a file that cannot be read.
    """
    _require_encoding(encoding)
    root = path.resolve()
    for file in _files(root):
        name = well_formed(file.relative_to(root.parent).as_posix())
        if file.suffix.lower() not in TEXT:
            remarks.add("files are neither text nor Markdown; left out", name)
            continue
        if not file.is_file():  # a pipe would never end
            remarks.add("are links to nothing, or no plain files; left out", name)
            continue
        text = _text(file, name, remarks, encoding)
        if text is not None:
            yield Document(str(file), name, text, source=name, markdown=file.suffix.lower() in MARKDOWN)


def is_text_file(path: Path) -> bool:
    """Whether it is a single file of this kind, by its ending."""
    return path.is_file() and path.suffix.lower() in TEXT


def decoded(data: bytes, encoding: str | None = None) -> str | None:
    r"""The text of a file; None where its encoding is neither stated nor UTF-8.

    >>> decoded(b"\xff\xfea\x00"), decoded(b"caf\xe9"), decoded(b"caf\xe9", "cp1252")
    ('a', None, 'café')
    """
    marked = next((name for mark, name in MARKS if data.startswith(mark)), None)
    for name in [marked] if marked else ["utf-8", *([encoding] if encoding else [])]:
        try:
            return data.decode(name)
        except UnicodeDecodeError:
            continue
    return None


def _text(file: Path, name: str, remarks: Remarks, encoding: str | None) -> str | None:
    try:
        data = file.read_bytes()
    except OSError as error:
        raise EmbedmergeError(
            f"{file}: cannot be read ({error.strerror}); mend it, or take it out"
        ) from error
    text = decoded(data, encoding)
    if text is None and b"\0" not in data:
        remarks.add("files are not UTF-8; left out, say their encoding with --encoding", name)
    elif text is None or "\0" in text:
        remarks.add("files are binary in spite of their names; left out", name)
        return None
    return text


def _files(root: Path) -> Iterator[Path]:
    if root.is_file():
        yield root
        return
    for folder, below, names in os.walk(root):
        below[:] = sorted(name for name in below if not name.startswith("."))
        yield from (Path(folder) / name for name in sorted(names) if not name.startswith("."))


def _require_encoding(encoding: str | None) -> None:
    try:
        codecs.lookup(encoding or "utf-8")
    except LookupError as error:
        raise EmbedmergeError(
            f"--encoding {encoding}: no such encoding; such as cp1252, shift_jis"
        ) from error
