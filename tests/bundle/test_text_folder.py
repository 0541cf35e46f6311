from __future__ import annotations

import os
from pathlib import Path

import pytest

from embedmerge.bundle.remarks import Remarks
from embedmerge.bundle.text_folder import text_documents
from embedmerge.errors import EmbedmergeError


def read(path: Path, encoding: str | None = None) -> tuple[dict[str, str], tuple[str, ...]]:
    remarks = Remarks(path.name)
    found = {document.id: document.text for document in text_documents(path, remarks, encoding)}
    return found, remarks.lines


def test_files_are_documents_named_from_the_folder_on(notes: Path) -> None:
    documents = list(text_documents(notes, Remarks("notes")))
    assert [document.id for document in documents] == [
        "notes/guide.md", "notes/river.txt", "notes/deep/market.txt"
    ]  # fmt: skip
    assert [document.markdown for document in documents] == [True, False, False]
    assert all(document.source == document.id for document in documents)


def test_one_file_is_a_corpus_too(notes: Path) -> None:
    assert read(notes / "river.txt")[0] == {"river.txt": "water of the river and a tree by the house"}


def test_hidden_files_and_folders_are_not_looked_at(notes: Path) -> None:
    (notes / ".git").mkdir()
    (notes / ".git" / "note.txt").write_text("bank")
    (notes / ".draft.txt").write_text("bank")
    assert len(read(notes)[0]) == 3
    assert read(notes)[1] == ()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_unicode_is_recognised_by_its_mark(encoding: str, notes: Path) -> None:
    (notes / "river.txt").write_bytes("der Fluß, ein Bäumchen, 河".encode(encoding))
    assert read(notes)[0]["notes/river.txt"] == "der Fluß, ein Bäumchen, 河"
    assert read(notes)[1] == ()


def test_other_encodings_are_named_and_never_guessed(notes: Path) -> None:
    (notes / "river.txt").write_bytes("der Fluß".encode("cp1252"))
    found, remarks = read(notes)
    assert "notes/river.txt" not in found
    assert len(found) == 2
    (line,) = remarks
    assert (
        line == "notes: 1 files are not UTF-8; left out, say their encoding with --encoding (notes/river.txt)"
    )
    found, remarks = read(notes, "cp1252")
    assert (found["notes/river.txt"], remarks) == ("der Fluß", ())


def test_binary_files_are_named_whatever_they_are_called(notes: Path) -> None:
    (notes / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0")
    (notes / "picture.txt").write_bytes(b"\x89PNG\r\n\x1a\n\0\0")
    (notes / "zeros.md").write_bytes(b"text\0text")
    found, remarks = read(notes, "cp1252")
    assert len(found) == 3
    assert remarks == (
        "notes: 1 files are neither text nor Markdown; left out (notes/picture.png)",
        "notes: 2 files are binary in spite of their names; left out (notes/picture.txt, notes/zeros.md)",
    )


def test_many_are_counted_and_some_named(notes: Path) -> None:
    for number in range(9):
        (notes / f"{number}.bin").write_bytes(b"\0")
    (line,) = read(notes)[1]
    assert line.startswith("notes: 9 files are neither")
    assert line.endswith("notes/3.bin, notes/4.bin, ...)")


def test_a_pipe_and_a_broken_link_are_not_waited_for(notes: Path) -> None:
    os.mkfifo(notes / "pipe.txt")
    (notes / "link.txt").symlink_to(notes / "nothing.txt")
    found, remarks = read(notes)
    assert len(found) == 3
    assert remarks == (
        "notes: 2 are links to nothing, or no plain files; left out (notes/link.txt, notes/pipe.txt)",
    )


def test_an_unknown_encoding_is_refused(notes: Path) -> None:
    with pytest.raises(EmbedmergeError, match="--encoding klingon: no such encoding"):
        read(notes, "klingon")


def test_names_that_are_no_unicode_are_mended(notes: Path) -> None:
    with open(os.fsencode(notes) + b"/caf\xe9.txt", "w") as file:  # noqa: PTH123
        file.write("bank")
    found, remarks = read(notes)
    assert found["notes/caf\ufffd.txt"] == "bank"
    assert remarks == ()
