from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

from embedmerge.errors import EmbedmergeError
from embedmerge.weighting.examples import (
    Example,
    distinct_examples,
    read_examples,
    refuse_evaluated,
    refuse_test_split,
)

if TYPE_CHECKING:
    from pathlib import Path

ROW = '{"query": "q", "pos": ["p"], "neg": ["n"]}\n'


def one_line(caught: pytest.ExceptionInfo[EmbedmergeError]) -> str:
    said = str(caught.value)
    assert "\n" not in said
    return said


def graded_folder(folder: Path) -> Path:
    (folder / "qrels").mkdir(parents=True)
    documents = [("d1", "Rivers", "are wet"), ("d2", "", "a bank"), ("d3", "", "birds"), ("d4", "", "birds")]
    (folder / "corpus.jsonl").write_text(
        "".join(
            json.dumps({"_id": name, "title": title, "text": text}) + "\n" for name, title, text in documents
        )
    )
    (folder / "queries.jsonl").write_text(
        '{"_id": "q1", "text": "wet?"}\n{"_id": "q2", "text": "money?"}\n{"_id": "q3", "text": "no?"}\n'
    )
    (folder / "qrels" / "dev.tsv").write_text(
        "query-id\tcorpus-id\tscore\nq1\td1\t2\nq1\td3\t0\nq2\td2\t1\nq2\td4\t1\nq3\td1\t0\n"
    )
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td1\t1\n")
    return folder


def test_a_split_of_a_beir_folder_is_examples_and_a_corpus(tmp_path: Path) -> None:
    found = read_examples(f"{graded_folder(tmp_path / 'wet')}:dev")
    assert found.examples == [
        Example("wet?", ("Rivers are wet",), ("birds",)),
        Example("money?", ("a bank", "birds"), ()),
    ]
    assert found.corpus == ("Rivers are wet", "a bank", "birds")  # each text once


def test_a_file_is_examples_alone(tmp_path: Path) -> None:
    (tmp_path / "few.jsonl").write_text(ROW)
    assert read_examples(str(tmp_path / "few.jsonl")).examples == [Example("q", ("p",), ("n",))]
    assert read_examples(str(tmp_path / "few.jsonl")).corpus == ()
    (tmp_path / "at 10:30.jsonl").write_text(ROW)
    assert len(read_examples(str(tmp_path / "at 10:30.jsonl")).examples) == 1


def test_home_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "few.jsonl").write_text(ROW)
    graded_folder(tmp_path / "wet")
    assert len(read_examples("~/few.jsonl").examples) == 1
    assert len(read_examples("~/wet:dev").examples) == 2


@pytest.mark.parametrize(
    ("named", "says"),
    [
        ("wet", "name the split too, as in .*wet:dev"),
        ("wet:train", "no split 'train'.*dev, test"),
        ("wet:", "no split ''"),
        ("nowhere:dev", "no such examples file"),
        ("none.jsonl", "no such examples file"),
    ],
)
def test_what_is_neither_is_named_in_one_line(tmp_path: Path, named: str, says: str) -> None:
    graded_folder(tmp_path / "wet")
    with pytest.raises(EmbedmergeError) as caught:
        read_examples(f"{tmp_path}/{named}")
    assert re.search(says, one_line(caught))


def test_a_test_split_is_refused_unless_known(tmp_path: Path) -> None:
    named = f"{graded_folder(tmp_path / 'wet')}:test"
    with pytest.raises(EmbedmergeError, match="a test split, by its name") as caught:
        read_examples(named)
    assert "--i-know-this-is-test-data" in one_line(caught)
    assert len(read_examples(named, test_data=True).examples) == 1


@pytest.mark.parametrize(
    "name", ["scifact-test.jsonl", "test.jsonl", "TEST.jsonl", "my_test_rows.jsonl", "test2.jsonl"]
)
def test_so_is_a_file_of_that_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(ROW)
    with pytest.raises(EmbedmergeError, match="a test split, by its name"):
        read_examples(str(tmp_path / name))
    assert len(read_examples(str(tmp_path / name), test_data=True).examples) == 1


@pytest.mark.parametrize("name", ["latest", "contest", "dev", "attestations-train", "testament", "fastest2"])
def test_names_that_only_hold_the_letters_are_fine(name: str) -> None:
    refuse_test_split(name, name, allowed=False)


def test_a_folder_called_test_may_hold_a_dev_split(tmp_path: Path) -> None:
    assert len(read_examples(f"{graded_folder(tmp_path / 'test')}:dev").examples) == 2


def test_queries_that_are_evaluated_on_are_refused_however_they_are_written() -> None:
    queries = ["What is  Rain?", "other"]
    evaluated = {"weather": iter(["what is rain?", "and snow?"]), "cars": iter(["why?"])}
    with pytest.raises(
        EmbedmergeError, match="guard: 1 of its queries are evaluated on in weather"
    ) as caught:
        refuse_evaluated("guard", queries, evaluated)
    assert "'what is rain?'" in one_line(caught)
    refuse_evaluated("guard", queries, {"weather": ["what is hail?"]})


def test_copies_count_once_and_too_many_are_drawn_in_order() -> None:
    examples = [Example(f"q{row % 20}", ("p",)) for row in range(60)]
    different = distinct_examples(examples, 100, seed=0)
    assert different == examples[:20]
    drawn, same, other = (distinct_examples(examples, 7, seed) for seed in (1, 1, 2))
    assert len(drawn) == 7
    assert drawn == same != other
    assert [different.index(example) for example in drawn] == sorted(map(different.index, drawn))
