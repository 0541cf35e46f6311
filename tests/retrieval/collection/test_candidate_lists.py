from __future__ import annotations

from pathlib import Path

import pytest
from forms import jsonl, table, text, write_beir, zipped

from embedmerge.errors import EmbedmergeError
from embedmerge.retrieval.collection import read_collection

RUN = "q1 Q0 d2 1 9.5 bm25\nq1\tQ0\td1\t2\t9.1\tbm25\nq1 Q0 d2 3 8.0 bm25\nq2 Q0 d3 1 9.0 bm25\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_beir(tmp_path / "law")


def as_run(folder: Path) -> None:
    text(folder / "candidates" / "test.trec", RUN)


def as_zipped_run(folder: Path) -> None:
    as_run(folder)
    zipped(folder / "candidates" / "test.trec")


def as_lines(folder: Path) -> None:
    jsonl(folder / "candidates" / "test.jsonl", [{"query-id": "q1", "corpus-ids": ["d2", "d1"]}])


def as_table(folder: Path) -> None:
    table(folder / "candidates" / "test.parquet", [{"query-id": "q1", "corpus-ids": ["d2", "d1"]}])


@pytest.mark.parametrize("write", [as_run, as_zipped_run, as_lines, as_table])
def test_lists_in_every_form(folder: Path, write) -> None:
    write(folder)
    found = read_collection(folder, candidates=True)
    assert found.candidates == {"q1": ["d2", "d1"]}
    assert found.sha256 != read_collection(folder).sha256


def test_the_corpus_is_what_is_listed_or_relevant_and_the_qrels_stay_whole(folder: Path) -> None:
    with (folder / "corpus.jsonl").open("a") as corpus:
        corpus.write('{"_id": "d4", "text": "far away"}\n')
    as_run(folder)
    found = read_collection(folder, candidates=True)
    assert [row["id"] for row in found.corpus] == ["d1", "d2", "d3"]
    assert found.qrels == {"q1": {"d1": 2, "d3": 1}}
    assert found.notes == ("law:test: 1 documents are neither candidates nor relevant; not ranked",)


def test_they_are_not_read_unless_asked_for(folder: Path) -> None:
    text(folder / "candidates" / "test.trec", "no run\n")
    assert read_collection(folder).candidates is None


def test_a_split_without_lists_is_ranked_whole(folder: Path) -> None:
    as_run(folder)
    assert read_collection(folder, "train", candidates=True).candidates is None


def test_unknown_candidates_and_queries_without_any_are_counted(folder: Path) -> None:
    with (folder / "qrels" / "test.tsv").open("a") as qrels:
        qrels.write("q2\td2\t1\n")
    text(folder / "candidates" / "test.trec", "q1 Q0 gone 1 9.5 bm25\nq1 Q0 d1 2 9.1 bm25\n")
    found = read_collection(folder, candidates=True)
    assert found.candidates == {"q1": ["d1"], "q2": []}
    assert found.notes == (
        "law:test: 1 candidates are not in the corpus; left out",
        "law:test: 1 queries have no candidates; they score 0",
    )


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("test.trec", "q1 d1 1\n", "test.trec:1: not a TREC run's six columns"),
        ("test.jsonl", '{"query-id": "q1"}\n', "a row must be an object with query-id and corpus-ids"),
        ("test.jsonl", '{"query-id": "q1", "corpus-ids": "d1"}\n', "`corpus-ids` must be a list"),
    ],
)
def test_a_broken_list_is_named(folder: Path, name: str, content: str, says: str) -> None:
    text(folder / "candidates" / name, content)
    with pytest.raises(EmbedmergeError, match=says):
        read_collection(folder, candidates=True)
