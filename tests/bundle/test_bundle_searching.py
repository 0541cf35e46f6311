from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from bundle_corpora import texts

from embedmerge.bundle import Searcher
from embedmerge.bundle.identity import model_facts, model_of
from embedmerge.checkpoint.hub import Location, locate
from embedmerge.checkpoint.layout import open_checkpoint
from embedmerge.errors import EmbedmergeError
from embedmerge.sources import encoder_model


@pytest.fixture
def model(base: Path, tmp_path: Path) -> Path:
    """A copy of the base that may be moved."""
    return shutil.copytree(base, tmp_path / "models" / "mine")


@pytest.fixture
def bundle(model: Path, notes: Path, tmp_path: Path, embedmerge: Callable) -> Path:
    code, _, err = embedmerge("index", model, notes, "-o", tmp_path / "bundle")
    assert (code, err) == (0, "")
    return tmp_path / "bundle"


def test_the_best_passages_come_first(bundle: Path) -> None:
    (answer,) = Searcher.open(bundle).search(["market price of a stock and a drug"], k=9)
    assert answer.hits[0].passage.id == "notes/deep/market.txt#0"
    assert answer.hits[0].score == pytest.approx(1, abs=1e-5)
    assert [hit.rank for hit in answer.hits] == [1, 2, 3, 4, 5]
    assert np.all(np.diff([hit.score for hit in answer.hits]) <= 0)


def test_json(bundle: Path, embedmerge: Callable) -> None:
    code, out, err = embedmerge("search", bundle, "court law judge", "river", "-k", 2, "--json")
    assert (code, err) == (0, "")
    first, second = json.loads(out)
    assert (first["question"], second["question"]) == ("court law judge", "river")
    assert [hit["rank"] for hit in first["hits"]] == [1, 2]
    guide = (bundle.parent / "notes" / "guide.md").read_text()
    for hit in first["hits"]:
        if hit["source"] == "notes/guide.md":
            assert guide[hit["start"] : hit["end"]] == hit["text"]


@pytest.mark.parametrize("width", [80, 120])
def test_the_table_fits_the_terminal(
    width: int, bundle: Path, embedmerge: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    code, out, _ = embedmerge("search", bundle, "court law judge [bold]contract", "-k", 2)
    assert code == 0
    assert max(map(len, out.splitlines())) <= width
    assert "court law judge [bold]contract" in out
    assert "Merge guide > Search a bank > Loan" in out
    assert "notes/guide.md#2" in out


def test_passages_are_shown_whole_on_demand(
    model: Path, table: Callable, tmp_path: Path, embedmerge: Callable
) -> None:
    rows = {"long": " ".join([*texts(40).values(), "contract"])}
    assert embedmerge("index", model, table("rows.jsonl", rows), "-o", tmp_path / "b")[0] == 0
    assert " …" in embedmerge("search", tmp_path / "b", "bank")[1]
    whole = embedmerge("search", tmp_path / "b", "bank", "--full")[1]
    assert " …" not in whole
    assert "".join(whole.split()).endswith("contract")


def test_questions_from_a_file_and_from_standard_input(
    bundle: Path, embedmerge: Callable, tmp_path: Path
) -> None:
    (tmp_path / "asked.txt").write_text("river\n\n  court law \n")
    for words, given in ((["--file", tmp_path / "asked.txt"], None), (["--file", "-"], "river\ncourt law")):
        code, out, _ = embedmerge("search", bundle, *words, "--json", given=given)
        assert code == 0
        assert [answer["question"] for answer in json.loads(out)] == ["river", "court law"]


def test_bundle_and_model_can_be_moved_together(bundle: Path, tmp_path: Path, embedmerge: Callable) -> None:
    (tmp_path / "elsewhere").mkdir()
    for name in ("bundle", "models"):
        (tmp_path / name).rename(tmp_path / "elsewhere" / name)
    assert embedmerge("search", tmp_path / "elsewhere" / "bundle", "river")[0] == 0


def test_a_model_that_was_moved_is_asked_for(
    bundle: Path, model: Path, tmp_path: Path, embedmerge: Callable
) -> None:
    model.rename(tmp_path / "moved")
    code, _, err = embedmerge("search", bundle, "river")
    assert code == 2
    assert "its model mine is not at ../models/mine any more; say where with --model" in err
    assert embedmerge("search", bundle, "river", "--model", tmp_path / "moved")[0] == 0


def test_another_model_is_refused(bundle: Path, expert: Path, embedmerge: Callable) -> None:
    code, out, err = embedmerge("search", bundle, "river", "--model", expert)
    assert (code, out) == (2, "")
    assert "the index is of mine, and this is another model (sha256 " in err
    assert err.count("\n") == 1


def test_a_model_with_other_prompts_is_refused(bundle: Path, model: Path, embedmerge: Callable) -> None:
    path = model / "config_sentence_transformers.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "prompts": {"query": "query the "}}))
    code, _, err = embedmerge("search", bundle, "river")
    assert code == 2
    assert "has its weights, but another tokenizer, pooling or other prompts" in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([" "], "question 1: it is empty"),
        (["river", ""], "question 2: it is empty"),
        ([], "no question"),
        (["--file", "/nowhere/asked.txt"], "No such file"),
    ],
)
def test_bad_questions_are_one_line(
    words: list[str], message: str, bundle: Path, embedmerge: Callable
) -> None:
    code, out, err = embedmerge("search", bundle, *words)
    assert (code, out) == (2, "")
    assert message in err


def test_what_indexing_says(model: Path, notes: Path, tmp_path: Path, embedmerge: Callable) -> None:
    (notes / "tree.png").write_bytes(b"\0")
    code, out, err = embedmerge("index", model, notes, "-o", tmp_path / "bundle")
    assert code == 0
    assert out.splitlines()[0].endswith("bundle: 3 added")
    assert "3 documents, 5 passages (48 tokens at most), exact index; " in out
    assert "note: notes: 1 files are neither text nor Markdown; left out (notes/tree.png)" in err
    code, out, _ = embedmerge("index", "-o", tmp_path / "bundle", "--delete", "notes/river.txt", "--json")
    assert code == 0
    done = json.loads(out)
    assert (done["removed"], done["documents"], done["notes"]) == (1, 2, [])
    assert "1 added, 2 unchanged" in embedmerge("index", model, notes, "-o", tmp_path / "bundle", "--sync")[1]


def test_options_of_indexing(model: Path, notes: Path, tmp_path: Path, embedmerge: Callable) -> None:
    code, _, err = embedmerge(
        "index", model, notes, "-o", tmp_path / "bundle", "--index", "hnsw", "--effort", 40,
        "--chunk-tokens", 24, "--chunk-overlap", 4,
        "--query-prompt", "of ", "--document-prompt", "in ", "--max-seq-length", 30,
    )  # fmt: skip
    assert (code, err) == (0, "")
    manifest = json.loads((tmp_path / "bundle" / "manifest.json").read_text())
    assert manifest["chunking"] == {"tokens": 24, "overlap": 4}
    assert manifest["index"]["kind"] == "hnsw"
    assert manifest["encoding"] == {
        "query_prompt": "of ", "document_prompt": "in ", "max_seq_length": 30, "precision": "fp32"
    }  # fmt: skip


def test_where_a_bundle_goes_has_to_be_said(model: Path, notes: Path, embedmerge: Callable) -> None:
    code, _, err = embedmerge("index", model, notes)
    assert code == 2
    assert "-o: say where the bundle is" in err


def test_k_has_to_be_positive(bundle: Path) -> None:
    with pytest.raises(EmbedmergeError, match="k = 0"):
        Searcher.open(bundle).search(["river"], k=0)


def test_half_precision_is_recorded_and_kept(
    model: Path, notes: Path, tmp_path: Path, embedmerge: Callable
) -> None:
    bundle = tmp_path / "bundle"
    assert embedmerge("index", model, notes, "-o", bundle, "--precision", "bf16")[0] == 0
    assert json.loads((bundle / "manifest.json").read_text())["encoding"]["precision"] == "bf16"
    (notes / "more.txt").write_text("bank loan court")
    code, out, _ = embedmerge("index", model, notes, "-o", bundle, "--append", "--json")
    assert (code, json.loads(out)["encoded"]) == (0, 1)
    (answer,) = Searcher.open(bundle).search(["bank loan court"], k=1)
    assert answer.hits[0].score == pytest.approx(1, abs=0.02)


def test_a_model_of_the_hub_is_named_by_its_commit(bundle: Path, model: Path) -> None:
    local = open_checkpoint(locate(str(model)))
    location = Location("org/mine", local.folder, "0123abc")
    facts = model_facts(replace(local, location=location), encoder_model(local), bundle)
    assert facts.location == "org/mine@0123abc"
    with pytest.raises(EmbedmergeError, match="org/mine@0123abc: no such folder here, not in the hub cache"):
        model_of(bundle, facts, None)
