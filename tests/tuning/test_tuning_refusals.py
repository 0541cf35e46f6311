"""Bad input: one line that says what, where and what to do, before anything is written."""

from __future__ import annotations

import json
import resource
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tuning_parts import PREPARATION, SETTINGS, files, write_rows, write_training_collection
from typer.testing import CliRunner

import embedmerge
from embedmerge.cli import app
from embedmerge.errors import EmbedmergeError
from embedmerge.tuning import Preparation
from embedmerge.tuning.rows import read_training_data
from embedmerge.tuning.watching import is_out_of_memory

SHORT = replace(SETTINGS, steps=2, evaluations=1)


def tune(
    learner: Path, data: object, output: Path, settings: Any = SHORT, preparation: Any = PREPARATION
) -> Any:
    return embedmerge.tune(str(learner), str(data), output, settings, preparation)


def test_empty_positives_are_left_out_and_counted(lawful_rows: list[dict[str, Any]], tmp_path: Path) -> None:
    rows = [{**lawful_rows[0], "pos": []}, {**lawful_rows[1], "pos": ["", "  "]}, *lawful_rows[2:]]
    data = read_training_data(str(write_rows(tmp_path / "law.jsonl", rows)))
    assert len(data.rows) == 38
    assert data.notes == (
        "law.jsonl: 2 positives are empty; left out",
        "law.jsonl: 2 rows have no query or no positive left; left out",
    )


def test_mostly_empty_positives_are_refused(lawful_rows: list[dict[str, Any]], tmp_path: Path) -> None:
    rows = [*lawful_rows[:5], *({**row, "pos": [""]} for row in lawful_rows[5:])]
    with pytest.raises(
        EmbedmergeError, match=r"law.jsonl: 5 of 40 rows can be trained on, first at .*:6; 35"
    ):
        read_training_data(str(write_rows(tmp_path / "law.jsonl", rows)))


def test_a_query_that_is_its_own_positive(lawful_rows: list[dict[str, Any]], tmp_path: Path) -> None:
    first, second, *others = lawful_rows
    rows = [
        {**first, "pos": [f"{first['query'].upper()}!", *first["pos"]]},
        {**second, "pos": [second["query"]]},
        *others,
    ]
    data = read_training_data(str(write_rows(tmp_path / "law.jsonl", rows)))
    assert data.rows[0].pos == tuple(first["pos"])
    assert second["query"] not in {row.query for row in data.rows} and len(data.rows) == 39
    assert data.notes[0] == "law.jsonl: 2 queries are their own positive; it is left out"


def test_the_same_query_twice_is_one_row(lawful_rows: list[dict[str, Any]], tmp_path: Path) -> None:
    first, second, *others = lawful_rows
    again = {"query": first["query"], "pos": second["pos"], "neg": first["pos"]}
    data = read_training_data(str(write_rows(tmp_path / "law.jsonl", [first, again, *others])))
    assert data.rows[0].pos == (*first["pos"], *second["pos"])
    assert data.rows[0].neg == tuple(first["neg"])


@pytest.fixture
def leaky(tmp_path: Path) -> Path:
    """A collection three of whose test queries are training queries too, put otherwise."""
    folder = write_training_collection(tmp_path / "leaky")
    rows = [json.loads(line) for line in (folder / "queries.jsonl").read_text().splitlines()]
    for place in (3, 7, 11):
        rows[place]["text"] = rows[place - 3]["text"].upper() + " ?"
    write_rows(folder / "queries.jsonl", rows)
    return folder


def test_leakage_is_counted_and_refused(learner: Path, leaky: Path, tmp_path: Path) -> None:
    with pytest.raises(EmbedmergeError, match=r"leaky:train: .* 3 in leaky:test, such as .*--leakage drop"):
        tune(learner, leaky, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["leaky"]


@pytest.mark.parametrize(("leakage", "left"), [("drop", (37, 0)), ("allow", (32, 8))])
def test_leakage_may_be_dropped_or_allowed(
    learner: Path, leaky: Path, tmp_path: Path, leakage: Any, left: tuple[int, int]
) -> None:
    tuned = tune(learner, leaky, tmp_path / "out", SHORT, replace(PREPARATION, leakage=leakage, negatives=0))
    counts = tuned.record.counts
    assert counts["leaked"] == {"leaky:test": 3}
    assert (counts["training queries"], counts["held-out queries"]) == left  # of 37, 8 are no fifth


def test_leakage_into_a_named_test(
    learner: Path, law: Path, lawful_rows: list[dict[str, Any]], tmp_path: Path
) -> None:
    asked = json.loads((law / "queries.jsonl").read_text().splitlines()[3])["text"]
    path = write_rows(tmp_path / "train.jsonl", [{**lawful_rows[0], "query": asked}, *lawful_rows[1:]])
    with pytest.raises(EmbedmergeError, match=r"1 in law:test"):
        embedmerge.tune(str(learner), str(path), tmp_path / "out", SHORT, PREPARATION, tests=[f"{law}:test"])


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("{law}:trian", "no split 'trian'.*there are: dev, test, train"),
        ("{law}:test", "a test split"),
        ("{untrained}", "no split 'train'"),
        ("{law}/nowhere", "no such file or folder; give a BEIR folder with a train split"),
        ("{empty}", "no collection; give a BEIR folder"),
        ("{rows}/test.jsonl", "a test split"),
        ("{rows}/bare.jsonl", r"bare.jsonl:1: `pos` must be a list"),
        ("{rows}/unasked.jsonl", r"unasked.jsonl:1: `query` is missing"),
    ],
)
def test_data_that_cannot_be_tuned_on(
    learner: Path, law: Path, tmp_path: Path, data: str, words: str
) -> None:
    untrained = shutil.copytree(law, tmp_path / "untrained")
    (untrained / "qrels" / "train.tsv").unlink()
    empty = tmp_path / "empty"
    empty.mkdir()
    write_rows(tmp_path / "test.jsonl", [{"query": "a", "pos": ["b"]}])
    write_rows(tmp_path / "bare.jsonl", [{"query": "a", "pos": "b"}])
    write_rows(tmp_path / "unasked.jsonl", [{"pos": ["b"]}])
    places = {"law": law, "untrained": untrained, "empty": empty, "rows": tmp_path}
    before = set(tmp_path.iterdir())
    with pytest.raises(EmbedmergeError, match=words):
        tune(learner, data.format(**places), tmp_path / "out")
    assert set(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"matryoshka": (16, 64)}, "matryoshka: 64 found; .* 32 dimensions"),
        ({"matryoshka": (0,)}, "matryoshka"),
        ({"stop_by": "luck"}, "stop_by: 'luck' found; must be ndcg_at_10 or loss"),
        ({"lora": 0}, "lora"),
        ({"epochs": float("nan")}, "epochs"),
    ],
)
def test_settings_that_make_no_sense(
    learner: Path, law: Path, tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    with pytest.raises(EmbedmergeError, match=words):
        tune(learner, law, tmp_path / "out", replace(SHORT, **change))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"held_out": 0.9}, "held_out"),
        ({"negatives": -1}, "negatives"),
        ({"leakage": "hide"}, "leakage: 'hide' found; must be refuse, drop or allow"),
        ({"examples": 0.1}, "of 40 queries, 0.1 are fewer than 8; give --examples 0.20 or more rows"),
    ],
)
def test_preparations_that_make_no_sense(
    learner: Path, law: Path, tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    with pytest.raises(EmbedmergeError, match=words):
        tune(learner, law, tmp_path / "out", SHORT, replace(PREPARATION, **change))
    assert not list(tmp_path.iterdir())


def test_a_base_that_is_no_sentence_transformers_folder(learner: Path, law: Path, tmp_path: Path) -> None:
    bare = shutil.copytree(learner, tmp_path / "bare")
    (bare / "modules.json").unlink()
    for base, words in ((bare, "no modules.json here"), (tmp_path / "none", "no such folder")):
        with pytest.raises(EmbedmergeError, match=words):
            tune(base, law, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["bare"]


def test_a_loss_that_is_no_number_leaves_the_last_good_checkpoint(
    learner: Path, law: Path, tmp_path: Path
) -> None:
    """Half precision overflows after a few steps at a rate that grows to be absurd."""
    absurd = replace(SETTINGS, learning_rate=1e38, warmup_ratio=1.0, evaluations=8)
    with pytest.raises(
        EmbedmergeError, match=r"step \d: the loss is not a finite number; .*law-tuning/last-good"
    ):
        tune(learner, law, tmp_path / "law", absurd)
    assert not (tmp_path / "law").exists()
    kept = tmp_path / "law-tuning" / "last-good"
    assert set(files(kept)) == set(files(learner))
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(kept))
    assert model.prompts["query"] == "find " and model[1].pooling_mode == "mean"


def test_no_memory_left_suggests_a_smaller_batch(
    learner: Path, law: Path, make_checkpoint: Any, tmp_path: Path
) -> None:
    """The process may have little more address space than it has, for as long as the test runs."""
    wide = make_checkpoint("wide", hidden=512, layers=4)
    tune(learner, law, tmp_path / "warm", SHORT, Preparation(held_out=0, negatives=0))
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limits = resource.getrlimit(resource.RLIMIT_AS)
    settings = replace(SHORT, batch_size=16, mini_batch_size=16)
    try:
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + (64 << 20), limits[1]))
        with pytest.raises(
            EmbedmergeError, match=r"out of memory with 16 texts at a time; try --mini-batch-size 8"
        ):
            tune(wide, law, tmp_path / "law", settings, Preparation(held_out=0, negatives=0))
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)


def test_what_says_that_memory_ran_out() -> None:
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"))
    assert is_out_of_memory(
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried")
    )
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))


def test_the_command_says_it_in_one_line(learner: Path, law: Path, tmp_path: Path) -> None:
    for arguments, words in (
        ([f"{law}:trian"], "no split 'trian'"),
        ([law, "--matryoshka", "big"], "--matryoshka big: must be whole numbers"),
        ([law, "--keep-adapter"], "keep_adapter: there is no adapter without lora"),
    ):
        result = CliRunner().invoke(
            app, ["tune", str(learner), *map(str, arguments), "-o", str(tmp_path / "out")]
        )
        assert result.exit_code == 2 and words in result.stderr
        assert "Traceback" not in result.stderr
    assert not list(tmp_path.iterdir())
