from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
from forms import DOCUMENTS, JUDGED, QUERIES, TEST, jsonl, judged_rows, table, text, write_beir, zipped

from embedmerge.errors import EmbedmergeError
from embedmerge.retrieval.collection import read_collection

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def copied(collection: Path, tmp_path: Path) -> Path:
    return shutil.copytree(collection, tmp_path / "animals")


def test_reads_the_queries_of_the_split_and_no_others(collection: Path) -> None:
    test, dev = read_collection(collection), read_collection(collection, "dev")
    assert (test.split, dev.split) == ("test", "dev")
    assert len(test.corpus) == 60
    assert {query["id"] for query in test.queries}.isdisjoint(query["id"] for query in dev.queries)
    assert test.notes == ()
    assert test.sha256 != dev.sha256


def gzipped(folder: Path) -> None:
    for path in [folder / "corpus.jsonl", folder / "queries.jsonl", *(folder / "qrels").iterdir()]:
        zipped(path)


def as_parquet(folder: Path) -> None:
    for path in [folder / "corpus.jsonl", folder / "queries.jsonl", *(folder / "qrels").iterdir()]:
        path.unlink()
    table(folder / "corpus.parquet", DOCUMENTS)
    table(folder / "queries.parquet", QUERIES)
    for split in JUDGED:
        table(folder / "qrels" / f"{split}.parquet", judged_rows(split))


def with_jsonl_qrels(folder: Path) -> None:
    for split in JUDGED:
        (folder / "qrels" / f"{split}.tsv").unlink()
        jsonl(folder / "qrels" / f"{split}.jsonl", judged_rows(split))


def with_trec_qrels(folder: Path) -> None:
    for split, rows in JUDGED.items():
        text(folder / "qrels" / f"{split}.tsv", "".join(f"{q}\tQ0\t{d}\t{grade}\n" for q, d, grade in rows))


def with_blanks_between(folder: Path) -> None:
    for split, rows in JUDGED.items():
        (folder / "qrels" / f"{split}.tsv").unlink()
        text(folder / "qrels" / f"{split}.txt", "".join(f"{q} 0 {d} {grade}\n" for q, d, grade in rows))


def without_header(folder: Path) -> None:
    for path in (folder / "qrels").iterdir():
        path.write_text(path.read_text().partition("\n")[2])


def with_marks_of_byte_order(folder: Path) -> None:
    for path in [folder / "corpus.jsonl", folder / "queries.jsonl", *(folder / "qrels").iterdir()]:
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())


@pytest.mark.parametrize(
    "rewrite",
    [
        gzipped,
        as_parquet,
        with_jsonl_qrels,
        with_trec_qrels,
        with_blanks_between,
        without_header,
        with_marks_of_byte_order,
    ],
)
def test_every_form_of_the_files_is_the_same_collection(
    tmp_path: Path, rewrite: Callable[[Path], None]
) -> None:
    plain = read_collection(write_beir(tmp_path / "plain" / "law"))
    rewrite(write_beir(tmp_path / "other" / "law"))
    other = read_collection(tmp_path / "other" / "law")
    assert (other.name, other.split, other.notes) == ("law", "test", ())
    assert (other.corpus, other.queries, other.qrels) == (plain.corpus, plain.queries, TEST)
    train = read_collection(tmp_path / "other" / "law", "train")
    assert train.qrels == {"q2": {"d2": 1, "d1": 0}}


def test_one_file_of_qrels_beside_the_corpus_is_the_split_all(tmp_path: Path) -> None:
    folder = write_beir(tmp_path / "law")
    (folder / "qrels" / "test.tsv").rename(folder / "qrels.tsv")
    shutil.rmtree(folder / "qrels")
    assert (read_collection(folder).split, read_collection(folder).qrels) == ("all", TEST)


def test_crlf_and_a_missing_last_newline_are_fine(copied: Path, collection: Path) -> None:
    qrels = copied / "qrels" / "test.tsv"
    qrels.write_bytes(qrels.read_bytes().strip().replace(b"\n", b"\r\n"))
    assert read_collection(copied).qrels == read_collection(collection).qrels


def test_line_separators_within_a_text_do_not_split_a_row(copied: Path) -> None:
    with (copied / "corpus.jsonl").open("a") as corpus:
        corpus.write('{"_id": "sep", "text": "one\u2028two\u0085three\u000bfour"}\n')
    assert read_collection(copied).corpus[-1]["text"] == "one\u2028two\u0085three\u000bfour"


def test_the_folder_here_has_a_name(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pathlib import Path

    monkeypatch.chdir(copied)
    assert read_collection(Path()).name == "animals"


def test_an_unknown_split_lists_the_known_ones(collection: Path) -> None:
    with pytest.raises(EmbedmergeError, match=r"no split 'train' in its qrels \(there are: dev, test\)"):
        read_collection(collection, "train")
