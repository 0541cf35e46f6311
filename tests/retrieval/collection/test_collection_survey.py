from __future__ import annotations

from pathlib import Path

import pytest
from forms import jsonl, text, write_beir, write_hugging_face, write_trec

from embedmerge.errors import EmbedmergeError
from embedmerge.retrieval.collection import is_collection, survey

LAYOUTS = {"BEIR": write_beir, "TREC": write_trec, "Hugging Face": write_hugging_face}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_split_is_counted_the_one_that_stands_for_it_first(tmp_path: Path, layout: str) -> None:
    found = survey(LAYOUTS[layout](tmp_path / "law"))
    assert (found.name, found.layout) == ("law", layout)
    counted = [(each.split, each.documents, each.queries, each.judged) for each in found.splits]
    assert counted == [("test", 3, 1, 2), ("train", 3, 1, 2)]


def test_notes_and_candidate_lists_are_the_splits(tmp_path: Path) -> None:
    folder = write_beir(tmp_path / "law")
    text(folder / "candidates" / "train.trec", "q2 Q0 d2 1 1.0 bm25\n")
    with (folder / "qrels" / "test.tsv").open("a") as qrels:
        qrels.write("q1\tgone\t1\n")
    test, train = survey(folder).splits
    assert (test.candidates, train.candidates) == (False, True)
    assert test.notes == ("law:test: 1 qrels name documents that the corpus has not; left out",)
    assert (test.judged, train.notes) == (2, ())


def test_a_file_of_flag_embedding(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "law.jsonl", [{"query": "q", "pos": ["a", "b"], "neg": ["c"]}])
    (split,) = survey(path).splits
    assert (survey(path).layout, split.documents, split.queries, split.judged) == ("FlagEmbedding", 3, 1, 2)


def test_a_folder_of_other_things_is_none(tmp_path: Path) -> None:
    text(tmp_path / "README.md", "# Notes\n")
    assert not is_collection(tmp_path)
    with pytest.raises(EmbedmergeError, match="no collection"):
        survey(tmp_path)
