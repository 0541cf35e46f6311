from __future__ import annotations

from pathlib import Path

import pytest
from forms import DOCUMENTS, JUDGED, QUERIES, TEST, jsonl, table, text, write_beir, write_trec, zipped

from embedmerge.errors import EmbedmergeError
from embedmerge.retrieval.collection import read_collection

CLASSIC = """
<top>

<num> Number: q1
<title> what is
  a loan

<desc> Description:
Which bank gives one?

<narr> Narrative:
None.

</top>

<top>
<num>q2</num>
<title></title>
<desc> Description: who is the judge </desc>
</top>
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_trec(tmp_path / "law")


def test_it_is_the_same_collection_as_in_beirs_form(folder: Path, tmp_path: Path) -> None:
    found, wanted = read_collection(folder), read_collection(write_beir(tmp_path / "beir" / "law"))
    assert (found.name, found.split, found.notes) == ("law", "test", ())
    assert (found.corpus, found.queries, found.qrels) == (wanted.corpus, wanted.queries, TEST)


def test_topics_of_the_classic_form(folder: Path) -> None:
    (folder / "topics.tsv").unlink()
    text(folder / "topics.txt", CLASSIC)
    assert read_collection(folder).queries == [{"id": "q1", "text": "what is a loan"}]
    assert read_collection(folder, "train").queries == [{"id": "q2", "text": "who is the judge"}]


def test_names_as_anserini_gives_them(folder: Path) -> None:
    (folder / "topics.tsv").rename(folder / "topics.beir-v1.0.0-law.test.tsv")
    zipped(folder / "topics.beir-v1.0.0-law.test.tsv")
    (folder / "qrels.test.txt").rename(folder / "qrels.beir-v1.0.0-law.test.txt")
    (folder / "qrels.train.txt").unlink()
    (folder / "corpus.tsv").unlink()
    jsonl(folder / "corpus.jsonl", [{"id": d["_id"], "contents": d["text"]} for d in DOCUMENTS])
    found = read_collection(folder)
    assert (found.split, found.qrels, found.corpus[0]["text"]) == ("test", TEST, "a loan of the bank")


def corpus_without_titles(folder: Path) -> None:
    text(folder / "corpus.tsv", "".join(f"{d['_id']}\t{d['text']}\n" for d in DOCUMENTS))


def corpus_as_ms_marco_names_it(folder: Path) -> None:
    corpus_without_titles(folder)
    zipped(folder / "corpus.tsv").rename(folder / "collection.tsv.gz")


def corpus_as_parquet(folder: Path) -> None:
    (folder / "corpus.tsv").unlink()
    table(folder / "corpus.parquet", [{"_id": d["_id"], "text": d["text"]} for d in DOCUMENTS])


@pytest.mark.parametrize("rewrite", [corpus_without_titles, corpus_as_ms_marco_names_it, corpus_as_parquet])
def test_every_form_of_the_corpus(folder: Path, rewrite) -> None:
    rewrite(folder)
    assert [row["text"] for row in read_collection(folder).corpus] == [d["text"] for d in DOCUMENTS]


def test_topics_and_qrels_in_folders_by_split(folder: Path) -> None:
    (folder / "topics.tsv").unlink()
    for split, query in zip(JUDGED, QUERIES, strict=True):
        text(folder / "topics" / f"{split}.tsv", f"{query['_id']}\t{query['text']}\n")
        (folder / "qrels").mkdir(exist_ok=True)
        (folder / f"qrels.{split}.txt").rename(folder / "qrels" / f"{split}.txt")
    assert read_collection(folder, "train").qrels == {"q2": {"d2": 1, "d1": 0}}


def no_topics_of_the_split(folder: Path) -> None:
    (folder / "topics.tsv").rename(folder / "topics.train.tsv")
    text(folder / "topics.dev.tsv", "q1\twhat\n")


def topics_in_another_form(folder: Path) -> None:
    text(folder / "topics.tsv", '<topic number="1"><query>what</query></topic>')


def topics_without_ids(folder: Path) -> None:
    text(folder / "topics.tsv", "what is a loan\n")


def corpus_of_four_columns(folder: Path) -> None:
    text(folder / "corpus.tsv", "d1\turl\ttitle\ttext\n")


def qrels_of_five_columns(folder: Path) -> None:
    text(folder / "qrels.test.txt", "q1 0 d1 1 more\n")


def no_qrels(folder: Path) -> None:
    for path in folder.glob("qrels*"):
        path.unlink()


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (no_topics_of_the_split, "no topics for 'test'"),
        (topics_in_another_form, "no <top> with </top>"),
        (topics_without_ids, "topics.tsv:1: neither an id and a query between tabs nor a <top>"),
        (corpus_of_four_columns, "corpus.tsv:1: not an id and a text"),
        (qrels_of_five_columns, "qrels.test.txt:1: not query-id, corpus-id and score"),
        (no_qrels, "no qrels in it; a TREC folder has"),
    ],
)
def test_what_is_wrong_is_named(folder: Path, damage, says: str) -> None:
    damage(folder)
    with pytest.raises(EmbedmergeError, match=says) as caught:
        read_collection(folder)
    assert "\n" not in str(caught.value)
