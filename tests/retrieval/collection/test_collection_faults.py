"""Bad input: what can go on goes on with a note that counts, what cannot is one line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from forms import DOCUMENTS, QUERIES, jsonl, table, text, write_beir, zipped

from embedmerge.errors import EmbedmergeError
from embedmerge.retrieval.collection import read_collection


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_beir(tmp_path / "law")


def append(path: Path, content: str) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(content)


def unknown_ids(folder: Path) -> None:
    append(folder / "qrels" / "test.tsv", "q1\tnowhere\t1\nnobody\td1\t1\nq2\tlost\t1\n")


def negative_grades(folder: Path) -> None:
    append(folder / "qrels" / "test.tsv", "q1\td2\t-2\n")


def missing_grades(folder: Path) -> None:
    append(folder / "qrels" / "test.tsv", "q1\td2\t\nq1\td2\n")


def grade_that_is_not_a_number(folder: Path) -> None:
    append(folder / "qrels" / "test.tsv", "q1\td2\tnan\n")


def grades_between(folder: Path) -> None:
    append(folder / "qrels" / "test.tsv", "q1\td2\t0.5\n")


def two_grades(folder: Path) -> None:
    append(folder / "qrels" / "test.tsv", "q1\td2\t1\nq1\td2\t0\nq1\td1\t2\n")


def no_positive(folder: Path) -> None:
    append(folder / "qrels" / "test.tsv", "q2\td1\t0\n")


def document_twice(folder: Path) -> None:
    append(folder / "corpus.jsonl", json.dumps(DOCUMENTS[0]) + "\n")


def query_twice(folder: Path) -> None:
    append(folder / "queries.jsonl", json.dumps(QUERIES[0]) + "\n")


def empty_document(folder: Path) -> None:
    append(folder / "corpus.jsonl", '{"_id": "e1", "text": " "}\n{"_id": "e2", "text": null}\n')


def empty_query(folder: Path) -> None:
    jsonl(folder / "queries.jsonl", [{"_id": "q1", "text": ""}])


def half_a_pair(folder: Path) -> None:
    append(folder / "corpus.jsonl", '{"_id": "h", "text": "half \\ud83d"}\n')


@pytest.mark.parametrize(
    ("damage", "notes"),
    [
        (
            unknown_ids,
            [
                "2 qrels name documents that the corpus has not; left out",
                "1 judged queries are not in queries.jsonl; left out",
                "1 queries have no relevant document left; left out",
            ],
        ),
        (negative_grades, ["1 qrels have a negative grade; taken as not relevant"]),
        (missing_grades, ["2 qrels have no grade; left out"]),
        (grade_that_is_not_a_number, ["1 qrels have no grade; left out"]),
        (grades_between, ["1 grades are not whole numbers; cut to whole ones"]),
        (two_grades, ["1 qrels grade a document again, otherwise; the last grade counts"]),
        (no_positive, ["1 queries have no relevant document left; left out"]),
        (document_twice, ["1 documents occur twice; taken once"]),
        (query_twice, ["1 queries occur twice; taken once"]),
        (empty_document, ["2 documents are empty; encoded all the same"]),
        (empty_query, ["1 queries are empty; encoded all the same"]),
        (half_a_pair, ["1 documents hold half a surrogate pair; replaced"]),
    ],
)
def test_what_can_be_lived_with_is_counted(folder: Path, damage, notes: list[str]) -> None:
    damage(folder)
    found = read_collection(folder)
    assert found.notes == tuple(f"law:test: {note}" for note in notes)
    grades = {document: grade for document, grade in found.qrels["q1"].items() if document != "d2"}
    assert grades == {"d1": 2, "d3": 1}
    assert found.qrels["q1"].get("d2", 0) == 0


@pytest.mark.parametrize(
    "odd",
    [
        "\x00\x01\x08\x1b[31m\x7f",
        "مرحبا بالعالم \u202eevil\u202c שלום",
        "👩‍👩‍👧‍👦🏳️‍🌈 😀",
        "word " * 100_000,
        "tab\tand\rreturn",
    ],
    ids=["control characters", "right to left", "emoji", "100,000 words", "separators"],
)
def test_odd_texts_are_read_as_they_are(folder: Path, odd: str) -> None:
    append(folder / "corpus.jsonl", json.dumps({"_id": "odd", "text": odd}) + "\n")
    append(folder / "queries.jsonl", json.dumps({"_id": "odd", "text": odd}, ensure_ascii=False) + "\n")
    append(folder / "qrels" / "test.tsv", "odd\todd\t1\n")
    found = read_collection(folder)
    assert (found.corpus[-1]["text"], found.queries[-1]["text"], found.notes) == (odd, odd, ())


def test_a_raw_control_character_within_json_is_read(folder: Path) -> None:
    append(folder / "corpus.jsonl", '{"_id": "raw", "text": "one\ttwo\x01"}\n')
    assert read_collection(folder).corpus[-1]["text"] == "one\ttwo\x01"


def empty_corpus(folder: Path) -> None:
    (folder / "corpus.jsonl").write_text("")


def no_corpus(folder: Path) -> None:
    (folder / "corpus.jsonl").unlink()


def one_id_for_two(folder: Path) -> None:
    append(folder / "corpus.jsonl", '{"_id": "d1", "text": "another"}\n')


def no_json(folder: Path) -> None:
    (folder / "queries.jsonl").write_text("not json\n")


def a_list(folder: Path) -> None:
    (folder / "queries.jsonl").write_text("[1]\n")


def other_columns(folder: Path) -> None:
    (folder / "corpus.jsonl").write_text('{"pid": "d0", "body": "t"}\n')


def no_id(folder: Path) -> None:
    (folder / "corpus.jsonl").write_text('{"_id": null, "text": "t"}\n')


def text_is_a_list(folder: Path) -> None:
    (folder / "corpus.jsonl").write_text('{"_id": "d0", "text": ["t"]}\n')


def other_corpus(folder: Path) -> None:
    (folder / "corpus.jsonl").write_text('{"_id": "elsewhere", "text": "t"}\n')


def no_qrels(folder: Path) -> None:
    shutil.rmtree(folder / "qrels")


def nothing(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


def bad_grade(folder: Path) -> None:
    text(folder / "qrels" / "test.tsv", "query-id\tcorpus-id\tscore\nq1\td1\tyes\n")


def endless_grade(folder: Path) -> None:
    text(folder / "qrels" / "test.tsv", "q1\td1\tinf\n")


def no_grades(folder: Path) -> None:
    text(folder / "qrels" / "test.tsv", "q1\td1\nq1\td2\n")


def other_qrels_columns(folder: Path) -> None:
    (folder / "qrels" / "test.tsv").unlink()
    table(folder / "qrels" / "test.parquet", [{"query": "q1", "doc": "d1", "rel": 1}])


def half_a_zip(folder: Path) -> None:
    jsonl(folder / "corpus.jsonl", [{"_id": f"d{row}", "text": f"{row * row}"} for row in range(500)])
    path = zipped(folder / "corpus.jsonl")
    path.write_bytes(path.read_bytes()[:-300])


def no_zip(folder: Path) -> None:
    (folder / "corpus.jsonl").rename(folder / "corpus.jsonl.gz")


def flipped_bits(folder: Path) -> None:
    path = zipped(folder / "corpus.jsonl")
    content = bytearray(path.read_bytes())
    content[20:40] = bytes(byte ^ 0xFF for byte in content[20:40])
    path.write_bytes(content)


def half_a_table(folder: Path) -> None:
    (folder / "corpus.jsonl").unlink()
    path = table(folder / "corpus.parquet", DOCUMENTS)
    path.write_bytes(path.read_bytes()[:-20])


def no_utf8(folder: Path) -> None:
    (folder / "corpus.jsonl").write_bytes(b'{"_id": "d1", "text": "caf\xe9"}\n')


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (empty_corpus, "the corpus is empty"),
        (no_corpus, "no such file"),
        (one_id_for_two, "corpus.jsonl:4: the id 'd1' occurs twice, with different texts"),
        (no_json, "queries.jsonl:1: not a JSON object"),
        (a_list, "queries.jsonl:1: not a JSON object"),
        (other_columns, r"corpus.jsonl:1: a row must be an object with _id and text \(found: pid, body\)"),
        (no_id, "corpus.jsonl:1: an id is empty"),
        (text_is_a_list, "corpus.jsonl:1: text and title must be texts"),
        (other_corpus, "test.tsv: no query in it has a relevant document.*2 qrels name documents"),
        (no_qrels, "no qrels in it; a BEIR folder has corpus.jsonl"),
        (nothing, "no collection, for it has no qrels; the forms are Hugging Face"),
        (bad_grade, "test.tsv:2: not query-id, corpus-id and score; the score 'yes' is no number"),
        (endless_grade, "test.tsv:1: the score inf is no grade"),
        (no_grades, "no query in it has a relevant document.*2 qrels have no grade"),
        (
            other_qrels_columns,
            r"must be an object with query-id, corpus-id and score \(found: query, doc, rel",
        ),
        (half_a_zip, "corpus.jsonl.gz: damaged"),
        (no_zip, "corpus.jsonl.gz: damaged"),
        (flipped_bits, "corpus.jsonl.gz: (damaged|cannot be read as UTF-8)"),
        (half_a_table, "corpus.parquet: damaged, or no parquet file"),
        (no_utf8, "corpus.jsonl: cannot be read as UTF-8 text"),
    ],
)
def test_what_cannot_be_lived_with_is_one_line(folder: Path, damage, says: str) -> None:
    damage(folder)
    with pytest.raises(EmbedmergeError, match=says) as caught:
        read_collection(folder)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500
