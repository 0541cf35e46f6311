from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from embedmerge.errors import EmbedmergeError
from embedmerge.retrieval.beir import read_collection

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


def test_unknown_documents_and_queries_are_counted_and_left_out(copied: Path) -> None:
    with (copied / "qrels" / "test.tsv").open("a") as qrels:
        qrels.write("q0\tnowhere\t1\nq2\tgone\t1\nnobody\td1\t1\nq1\tlost\t1\n")
    found = read_collection(copied)
    assert found.notes == (
        "animals:test: 3 qrels name documents that the corpus has not; left out",
        "animals:test: 1 judged queries are not in queries.jsonl; left out",
        "animals:test: 1 queries have no relevant document left; left out",
    )
    assert set(found.qrels["q0"]) == {"d0"}
    assert "q1" not in found.qrels


def test_crlf_and_a_missing_last_newline_are_fine(copied: Path) -> None:
    qrels = copied / "qrels" / "test.tsv"
    qrels.write_bytes(qrels.read_bytes().strip().replace(b"\n", b"\r\n"))
    assert read_collection(copied).qrels == read_collection(copied).qrels
    assert len(read_collection(copied).qrels) == 20


def test_line_separators_within_a_text_do_not_split_a_row(copied: Path) -> None:
    with (copied / "corpus.jsonl").open("a") as corpus:
        corpus.write('{"_id": "sep", "text": "one\u2028two\u0085three"}\n')
    assert read_collection(copied).corpus[-1]["text"] == "one\u2028two\u0085three"


def empty_corpus(folder: Path) -> None:
    (folder / "corpus.jsonl").write_text("")


def no_corpus(folder: Path) -> None:
    (folder / "corpus.jsonl").unlink()


def repeated_id(folder: Path) -> None:
    path = folder / "corpus.jsonl"
    path.write_text(path.read_text() + path.read_text().splitlines()[0] + "\n")


def no_json(folder: Path) -> None:
    (folder / "queries.jsonl").write_text("not json\n")


def no_id(folder: Path) -> None:
    (folder / "corpus.jsonl").write_text('{"id": "d0", "text": "t"}\n')


def other_corpus(folder: Path) -> None:
    (folder / "corpus.jsonl").write_text('{"_id": "elsewhere", "text": "t"}\n')


def no_qrels(folder: Path) -> None:
    shutil.rmtree(folder / "qrels")


def bad_grade(folder: Path) -> None:
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq0\td0\tyes\n")


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (empty_corpus, "the corpus is empty"),
        (no_corpus, "no such file"),
        (repeated_id, "'d0' occurs twice"),
        (no_json, "queries.jsonl:1: not a JSON object"),
        (no_id, "corpus.jsonl:1: a row must be an object with _id and text"),
        (other_corpus, "no query in it has a relevant document"),
        (no_qrels, "no qrels"),
        (bad_grade, "test.tsv:2: not query-id"),
    ],
)
def test_a_broken_collection_is_named(copied: Path, damage: Callable[[Path], None], says: str) -> None:
    damage(copied)
    with pytest.raises(EmbedmergeError, match=says) as caught:
        read_collection(copied)
    assert "\n" not in str(caught.value)


def test_an_unknown_split_lists_the_known_ones(collection: Path) -> None:
    with pytest.raises(EmbedmergeError, match=r"no split 'train' in qrels/ \(there are: dev, test\)"):
        read_collection(collection, "train")
