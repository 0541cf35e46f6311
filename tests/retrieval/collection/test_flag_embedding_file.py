from __future__ import annotations

from pathlib import Path

import pytest
from forms import jsonl, zipped

from embedmerge.errors import EmbedmergeError
from embedmerge.retrieval.collection import read_collection

ROWS = [
    {"query": "a loan", "pos": ["the bank"], "neg": ["the river", "the tree"]},
    {"query": "a judge", "pos": ["the court", "the law"], "neg": ["the bank"]},
    {"query": "a loan", "pos": ["the price"], "neg": []},
]


def test_the_corpus_is_every_passage_and_pos_is_relevant(tmp_path: Path) -> None:
    found = read_collection(jsonl(tmp_path / "law.jsonl", ROWS))
    assert (found.name, found.split, found.notes) == ("law", "all", ())
    texts = found.texts
    assert list(texts.values()) == ["the bank", "the river", "the tree", "the court", "the law", "the price"]
    queries = {query["id"]: query["text"] for query in found.queries}
    relevant = {
        queries[query]: {texts[document] for document, grade in grades.items() if grade > 0}
        for query, grades in found.qrels.items()
    }
    assert relevant == {"a loan": {"the bank", "the price"}, "a judge": {"the court", "the law"}}


@pytest.mark.parametrize(
    ("name", "called", "split"),
    [("law.jsonl", "law", "all"), ("law-dev.jsonl", "law-dev", "dev"), ("test.jsonl", "folder", "test")],
)
def test_name_and_split_are_the_files(tmp_path: Path, name: str, called: str, split: str) -> None:
    found = read_collection(jsonl(tmp_path / "folder" / name, ROWS))
    assert (found.name, found.split) == (called, split)
    again = read_collection(zipped(tmp_path / "folder" / name))
    assert (again.name, again.split, again.qrels) == (called, split, found.qrels)


def test_a_query_without_positives_is_counted_and_left_out(tmp_path: Path) -> None:
    rows = [*ROWS, {"query": "nobody knows", "pos": [], "neg": ["the tree"]}]
    found = read_collection(jsonl(tmp_path / "law.jsonl", rows))
    assert found.notes == ("law:all: 1 queries have no relevant document left; left out",)
    assert len(found.queries) == 2


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"pos": ["p"]}, "law.jsonl:1: `query` is missing"),
        ({"query": "q", "pos": "p"}, "law.jsonl:1: `pos` must be a list of texts"),
        ({"query": "q", "pos": [1]}, "`pos` must be a list of texts"),
        ({"query": "q", "pos": []}, "the corpus is empty"),
        ({"query": "q", "pos": [], "neg": ["p"]}, "no query in it has a relevant document"),
    ],
)
def test_a_broken_row_is_named(tmp_path: Path, row: dict[str, object], says: str) -> None:
    with pytest.raises(EmbedmergeError, match=says) as caught:
        read_collection(jsonl(tmp_path / "law.jsonl", [row]))
    assert "\n" not in str(caught.value)
