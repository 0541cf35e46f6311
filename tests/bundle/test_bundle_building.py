from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import faiss
import numpy as np
import pyarrow as pa
import pytest
from bundle_corpora import texts
from pyarrow import parquet
from sentence_transformers import SentenceTransformer

from embedmerge.api import index, search
from embedmerge.bundle import BundleSettings, open_bundle
from embedmerge.errors import EmbedmergeError
from embedmerge.retrieval.cache import EmbeddingCache


def test_vectors_are_those_of_sentence_transformers_row_by_row(
    base: Path, collection: Path, tmp_path: Path
) -> None:
    done = index(str(base), collection, tmp_path / "bundle")
    assert (done.documents, done.passages, done.added, done.kind) == (60, 60, 60, "exact")
    rows = [json.loads(line) for line in (tmp_path / "bundle" / "documents.jsonl").read_text().splitlines()]
    joined = [f"{row['title']} {row['text']}" for row in rows]
    plain = faiss.read_index(str(tmp_path / "bundle" / "index" / "index.faiss"))
    expected = SentenceTransformer(str(base), device="cpu").encode_document(joined)
    assert np.allclose(plain.reconstruct_n(0, 60), expected, atol=1e-5)
    assert [row["id"] for row in rows] == [f"d{number}" for number in range(60)]
    assert rows[0]["source"] == "animals/corpus.jsonl"


def test_the_manifest_says_what_it_is_made_of(base: Path, notes: Path, tmp_path: Path) -> None:
    settings = BundleSettings(document_prompt="document the ", query_prompt="query the ", chunk_overlap=4)
    index(str(base), notes, tmp_path / "bundle", settings=settings)
    manifest = json.loads((tmp_path / "bundle" / "manifest.json").read_text())
    assert (tmp_path / "bundle" / manifest["model"]["location"]).samefile(base)
    assert str(tmp_path) not in json.dumps(manifest)
    assert manifest["encoding"] == {
        "query_prompt": "query the ",
        "document_prompt": "document the ",
        "max_seq_length": None,
        "precision": "fp32",
    }
    assert manifest["chunking"] == {"tokens": 48, "overlap": 4}
    assert manifest["index"] == {
        "kind": "exact", "similarity": "cosine", "dimension": 32, "passages": 5, "documents": 3
    }  # fmt: skip
    assert {"faiss-cpu", "sentence-transformers", "semantic-text-splitter"} <= manifest["versions"].keys()
    files = {path.relative_to(tmp_path / "bundle").as_posix() for path in (tmp_path / "bundle").rglob("*.*")}
    assert manifest["files"].keys() == files - {"manifest.json"}
    for name, digest in manifest["files"].items():
        assert hashlib.sha256((tmp_path / "bundle" / name).read_bytes()).hexdigest() == digest


def test_passages_know_where_they_come_from(base: Path, notes: Path, tmp_path: Path) -> None:
    index(str(base), notes, tmp_path / "bundle")
    found = {passage.id: passage for passage in open_bundle(tmp_path / "bundle").passages}
    loan = found["notes/guide.md#2"]
    assert (loan.document, loan.source) == ("notes/guide.md", "notes/guide.md")
    assert (loan.title, loan.text) == ("Merge guide > Search a bank > Loan", "court law judge contract")
    assert (notes / "guide.md").read_text()[loan.start : loan.end] == loan.text


def test_the_models_own_prompts_are_used(make_checkpoint: Callable, collection: Path, tmp_path: Path) -> None:
    prompts = {"query": "query the ", "document": "document the "}
    model = make_checkpoint("prompted", prompts=prompts)
    index(str(model), collection, tmp_path / "bundle")
    bundle = open_bundle(tmp_path / "bundle")
    assert bundle.manifest.encoding.query_prompt == "query the "
    loaded = SentenceTransformer(str(model), device="cpu")
    vectors = np.concatenate(list(bundle.index.blocks()))
    assert np.allclose(vectors, loaded.encode_document([p.encoded for p in bundle.passages]), atol=1e-5)
    (answer,) = search(tmp_path / "bundle", ["bank loan court"], k=60)
    similarities = vectors @ loaded.encode_query("bank loan court")
    assert np.allclose([hit.score for hit in answer.hits], np.sort(similarities)[::-1], atol=1e-5)


@pytest.mark.parametrize("ending", [".jsonl", ".parquet"])
def test_tables_are_read_row_by_row(ending: str, base: Path, table: Callable, tmp_path: Path) -> None:
    path = table("rows.jsonl", texts(5), title="bank")
    if ending == ".parquet":
        path = tmp_path / "rows.parquet"
        parquet.write_table(
            pa.table({"_id": list(texts(5)), "text": list(texts(5).values()), "title": ["bank"] * 5}), path
        )
    index(str(base), path, tmp_path / "bundle")
    passages = open_bundle(tmp_path / "bundle").passages
    assert [(passage.id, passage.text, passage.title) for passage in passages] == [
        (name, text, "bank") for name, text in texts(5).items()
    ]


@pytest.mark.parametrize("kind", ["hnsw", "ivf", "sq8", "ivf_sq8", "pq"])
def test_every_kind_of_index(kind: str, base: Path, table: Callable, tmp_path: Path) -> None:
    corpus = table("rows.jsonl", texts(300))
    done = index(str(base), corpus, tmp_path / "bundle", settings=BundleSettings(kind=kind))  # type: ignore[arg-type]
    assert done.kind == kind
    asked = list(texts(300).values())[::30]
    answers = search(tmp_path / "bundle", asked, k=5)
    assert np.mean([answer.hits[0].passage.text == answer.question for answer in answers]) >= 0.8


def test_what_is_longer_than_the_model_reads_is_said(base: Path, table: Callable, tmp_path: Path) -> None:
    rows = {"short": "bank", "long": "river " * 60}
    (note,) = index(str(base), table("rows.jsonl", rows), tmp_path / "whole").notes
    assert note.startswith("rows.jsonl: 1 passages are longer than the 48 tokens")
    cut = index(
        str(base), table("rows.jsonl", rows), tmp_path / "cut", settings=BundleSettings(chunk_tokens=32)
    )
    assert (cut.documents, cut.passages, cut.notes) == (2, 3, ())
    assert [passage.id for passage in open_bundle(tmp_path / "cut").passages][:2] == ["short#0", "long#0"]


def test_empty_documents_are_left_out_and_named(base: Path, table: Callable, tmp_path: Path) -> None:
    done = index(str(base), table("rows.jsonl", {"a": "bank", "b": " ", "c": ""}), tmp_path / "bundle")
    assert done.documents == 1
    assert done.notes == ("rows.jsonl: 2 documents are empty; left out (b, c)",)


def test_a_row_that_occurs_twice_is_taken_once(base: Path, table: Callable, tmp_path: Path) -> None:
    corpus = table("rows.jsonl", {"a": "bank"})
    corpus.write_text(corpus.read_text() * 2)
    done = index(str(base), corpus, tmp_path / "bundle")
    assert done.documents == 1
    assert done.notes == ("rows.jsonl: 1 documents occur twice; taken once",)


def test_nothing_is_encoded_twice(base: Path, collection: Path, tmp_path: Path) -> None:
    index(str(base), collection, tmp_path / "one", settings=BundleSettings(document_prompt="of the "))
    again = index(str(base), collection, tmp_path / "two", settings=BundleSettings(document_prompt="of the "))
    assert (again.encoded, again.cached) == (0, 60)
    for name in ("documents.jsonl", "index/index.faiss", "index/index.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_a_run_that_was_killed_leaves_nothing_and_goes_on(
    base: Path, table: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus, bundle = table("rows.jsonl", texts(3000)), tmp_path / "out" / "bundle"
    monkeypatch.setenv("EMBEDMERGE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    words = [sys.executable, "-m", "embedmerge", "index", str(base), str(corpus), "-o", str(bundle)]
    running = subprocess.Popen(words, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while (
        not any(entry.texts for entry in EmbeddingCache.of_user().entries()) and time.monotonic() < deadline
    ):
        time.sleep(0.02)
    running.kill()
    running.wait()
    assert not bundle.exists()
    done = index(str(base), corpus, bundle)
    assert done.passages == 3000
    assert done.cached >= 512
    assert [path.name for path in bundle.parent.iterdir()] == ["bundle"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda path: path.write_text('{"id": "a", "text": "x"}\n{"id": "a", "text": "y"}\n'),
            "'a' occurs twice",
        ),
        (lambda path: path.write_text('{"id": "a"}\n'), ":1: a row must be an object with _id and text"),
        (lambda path: path.write_text('{"id": "a", "text"'), ":1: not a JSON object"),
        (
            lambda path: path.write_text('{"query": "a", "pos": ["b"]}\n'),
            "a row must be an object with _id and text",
        ),
        (lambda path: path.write_text(""), "no document with text in it"),
        (lambda path: path.write_bytes(b"\xff\xfe\xfa\n"), "cannot be read as UTF-8"),
        (lambda path: None, "no such corpus"),
    ],
)
def test_bad_tables_are_refused_and_nothing_is_written(
    make: Callable, message: str, base: Path, tmp_path: Path
) -> None:
    make(tmp_path / "rows.jsonl")
    with pytest.raises(EmbedmergeError, match=message):
        index(str(base), tmp_path / "rows.jsonl", tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


def test_a_folder_of_binary_files_is_refused_with_their_names(base: Path, tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "tree.png").write_bytes(b"\0")
    (tmp_path / "pictures" / "note.txt").write_bytes(b"\0")
    with pytest.raises(EmbedmergeError, match=r"no document with text.*note\.txt.*tree\.png"):
        index(str(base), tmp_path / "pictures", tmp_path / "bundle")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "tree"}, "index kind 'tree'"),
        ({"kind": "pq"}, "256 are the least to train it"),
        ({"precision": "int8"}, "must be auto, fp32 or bf16"),
        ({"chunk_tokens": 49}, "passages of 49 tokens: base reads 48"),
        ({"chunk_tokens": 0, "chunk_overlap": 4}, "documents stay whole here"),
        ({"encoding": "klingon"}, "no such encoding"),
        ({"layouts": ("word",)}, "--layout word: no such layout"),
    ],
)
def test_bad_settings_are_refused_and_nothing_is_written(
    settings: dict, message: str, base: Path, notes: Path, tmp_path: Path
) -> None:
    with pytest.raises(EmbedmergeError, match=message):
        index(str(base), notes, tmp_path / "bundle", settings=BundleSettings(**settings))
    assert not (tmp_path / "bundle").exists()


def test_a_target_that_is_no_bundle_is_left_alone(base: Path, notes: Path) -> None:
    before = sorted(notes.rglob("*"))
    for append in (False, True):
        with pytest.raises(
            EmbedmergeError, match=r"the target is not empty|no such file; a bundle is a folder"
        ):
            index(str(base), notes, notes, append=append)
    assert sorted(notes.rglob("*")) == before


def test_a_bundle_is_not_written_over(base: Path, notes: Path, tmp_path: Path) -> None:
    index(str(base), notes, tmp_path / "bundle")
    with pytest.raises(EmbedmergeError, match="there is a bundle already; --append"):
        index(str(base), notes, tmp_path / "bundle")


def test_a_model_that_is_compared_in_another_way_is_refused(
    make_checkpoint: Callable, notes: Path, tmp_path: Path
) -> None:
    model = make_checkpoint("manhattan", normalise=False)
    path = model / "config_sentence_transformers.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "similarity_fn_name": "manhattan"}))
    with pytest.raises(EmbedmergeError, match="similarity 'manhattan': not one that is indexed"):
        index(str(model), notes, tmp_path / "bundle")
