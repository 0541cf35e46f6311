from __future__ import annotations

from pathlib import Path

import datasets
import pytest
from forms import (
    DOCUMENTS,
    JUDGED,
    QUERIES,
    TEST,
    extend_card,
    jsonl,
    judged_rows,
    table,
    write_beir,
    write_hugging_face,
)

from embedmerge.errors import EmbedmergeError
from embedmerge.retrieval.collection import read_collection


def bare_jsonl(folder: Path) -> Path:
    jsonl(folder / "corpus" / "train.jsonl", DOCUMENTS)
    jsonl(folder / "queries" / "train.jsonl", QUERIES)
    for split in JUDGED:
        jsonl(folder / "qrels" / f"{split}.jsonl", judged_rows(split))
    return folder


def with_qrels_as_default(folder: Path) -> Path:
    write_hugging_face(folder)
    card = folder / "README.md"
    card.write_text(card.read_text().replace("config_name: qrels", "config_name: default"))
    return folder


def bare(folder: Path) -> Path:
    return write_hugging_face(folder, card=False)


@pytest.mark.parametrize("write", [write_hugging_face, with_qrels_as_default, bare, bare_jsonl])
def test_it_is_the_same_collection_as_in_beirs_form(tmp_path: Path, write) -> None:
    found = read_collection(write(tmp_path / "law"))
    wanted = read_collection(write_beir(tmp_path / "beir" / "law"))
    assert (found.name, found.split, found.notes) == ("law", "test", ())
    assert (found.corpus, found.queries, found.qrels) == (wanted.corpus, wanted.queries, TEST)
    assert read_collection(tmp_path / "law", "train").qrels == {"q2": {"d2": 1, "d1": 0}}


def test_mteb_reads_the_same_from_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mteb.abstasks.retrieval_dataset_loaders import RetrievalDatasetLoader

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    folder = write_hugging_face(tmp_path / "law")
    ours, theirs = read_collection(folder), RetrievalDatasetLoader(str(folder), "", split="test").load()
    assert [dict(row) for row in theirs["corpus"]] == ours.corpus
    assert [dict(row) for row in theirs["queries"]] == ours.queries
    assert theirs["relevant_docs"] == ours.qrels


def test_nothing_is_put_into_the_cache_of_datasets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    read_collection(write_hugging_face(tmp_path / "law"))
    assert not (tmp_path / "cache").exists()


def test_several_languages_are_several_splits(tmp_path: Path) -> None:
    folder = write_hugging_face(tmp_path / "law", "de-")
    write_hugging_face(folder, "fr-")
    table(folder / "fr-qrels" / "test-00000-of-00001.parquet", judged_rows("train"))
    assert read_collection(folder, "de-test").qrels == TEST
    assert read_collection(folder, "fr-test").qrels == {"q2": {"d2": 1, "d1": 0}}
    with pytest.raises(EmbedmergeError, match="there are: de-test, de-train, fr-test, fr-train"):
        read_collection(folder, "test")


def test_top_ranked_are_candidate_lists(tmp_path: Path) -> None:
    folder = write_hugging_face(tmp_path / "law")
    table(folder / "top" / "test.parquet", [{"query-id": "q1", "corpus-ids": ["d2", "d1"]}])
    files = [{"split": "test", "path": "top/test.parquet"}]
    extend_card(folder, [{"config_name": "top_ranked", "data_files": files}])
    assert read_collection(folder, candidates=True).candidates == {"q1": ["d2", "d1"]}
    assert read_collection(folder).candidates is None


def no_queries(folder: Path) -> None:
    for path in (folder / "queries").iterdir():
        path.unlink()


def queries_of_other_splits(folder: Path) -> None:
    card = folder / "README.md"
    splits = "[{split: dev, path: queries/*}, {split: other, path: queries/*}]"
    card.write_text(card.read_text().replace("data_files: queries/*", f"data_files: {splits}"))


def no_qrels(folder: Path) -> None:
    card = folder / "README.md"
    card.write_text(card.read_text().replace("config_name: qrels", "config_name: judgements"))


def damaged(folder: Path) -> None:
    (path,) = (folder / "corpus").iterdir()
    path.write_bytes(path.read_bytes()[:100])


def other_columns(folder: Path) -> None:
    (path,) = (folder / "queries").iterdir()
    table(path, [{"_id": "q1", "question": "what"}])


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (no_queries, "'queries' names no file that is there"),
        (queries_of_other_splits, r"its queries have no split 'test' \(there are: dev, other\)"),
        (no_qrels, "no qrels in it; a Hugging Face folder has"),
        (damaged, "corpus-00000-of-00001.parquet: damaged, or no parquet file"),
        (other_columns, r"row 1: a row must be an object with _id and text \(found: _id, question\)"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, damage, says: str) -> None:
    folder = write_hugging_face(tmp_path / "law")
    damage(folder)
    with pytest.raises(EmbedmergeError, match=says) as caught:
        read_collection(folder)
    assert "\n" not in str(caught.value)


def test_a_readme_that_is_no_card_does_not_make_a_data_set(tmp_path: Path) -> None:
    folder = write_beir(tmp_path / "law")
    (folder / "README.md").write_text("# Law\n\n---\nconfigs: none\n---\n")
    assert read_collection(folder).qrels == TEST
