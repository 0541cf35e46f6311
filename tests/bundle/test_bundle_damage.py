from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from bundle_corpora import texts

from embedmerge.api import index, search
from embedmerge.bundle import Deletion, open_bundle
from embedmerge.bundle.manifest import digests
from embedmerge.bundle.store import PassageStore, write_lines
from embedmerge.errors import EmbedmergeError
from embedmerge.retrieval.index import VectorIndex


@pytest.fixture
def bundle(base: Path, table: Callable, tmp_path: Path) -> Path:
    index(str(base), table("rows.jsonl", texts(20)), tmp_path / "bundle")
    return tmp_path / "bundle"


def resigned(bundle: Path) -> None:
    """Make the manifest agree with files that were changed."""
    path = bundle / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "files": digests(bundle)}))


@pytest.mark.parametrize("name", ["documents.jsonl", "index/index.faiss", "index/index.json"])
def test_a_missing_or_altered_file_is_named(name: str, bundle: Path) -> None:
    path = bundle / name
    content = path.read_bytes()
    path.write_bytes(content[:-2] + b"x" + content[-1:])
    with pytest.raises(EmbedmergeError, match=rf"{name}: altered, its sha256 is \w{{12}} and not \w{{12}}"):
        search(bundle, ["bank"])
    with pytest.raises(EmbedmergeError, match=rf"{name}: altered"):
        index(None, None, bundle, deletion=Deletion(("d1",)))
    path.unlink()
    with pytest.raises(EmbedmergeError, match=rf"{name}: missing, though manifest\.json lists it"):
        search(bundle, ["bank"])
    path.write_bytes(content)
    search(bundle, ["bank"])


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        ("", "damaged, or of another version of embedmerge"),
        ("{}", "damaged, or of another version of embedmerge"),
        ('{"format": 2}', "format: Input should be 1"),
        (None, "no such file; a bundle is a folder"),
    ],
)
def test_a_damaged_manifest_is_one_line(manifest: str | None, message: str, bundle: Path) -> None:
    path = bundle / "manifest.json"
    path.write_text(manifest) if manifest is not None else path.unlink()
    with pytest.raises(EmbedmergeError, match=message) as refused:
        search(bundle, ["bank"])
    assert "\n" not in str(refused.value)


def test_an_index_of_another_dimension_is_refused(
    bundle: Path, make_checkpoint: Callable, table: Callable, tmp_path: Path
) -> None:
    narrow = make_checkpoint("narrow", hidden=16)
    index(str(narrow), table("rows.jsonl", texts(20)), tmp_path / "narrow")
    model = json.loads((bundle / "manifest.json").read_text())["model"]["sha256"]
    shutil.rmtree(bundle / "index")
    foreign = VectorIndex.load(tmp_path / "narrow" / "index")
    foreign.model = model
    foreign.save(bundle / "index")
    resigned(bundle)
    with pytest.raises(
        EmbedmergeError, match="20 vectors of 16 dimensions for 20 passages, the manifest says 20 of 32"
    ):
        search(bundle, ["bank"])
    path = bundle / "manifest.json"
    path.write_text(path.read_text().replace('"dimension": 32', '"dimension": 16'))
    with pytest.raises(EmbedmergeError, match="query vectors: 32 dimensions, the index has 16"):
        search(bundle, ["bank"])


def test_an_index_of_another_model_is_refused(bundle: Path) -> None:
    path = bundle / "index" / "index.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "model": "f" * 64}))
    resigned(bundle)
    with pytest.raises(EmbedmergeError, match="built with model ffff"):
        search(bundle, ["bank"])


def test_passages_that_are_not_the_indexs_are_refused(bundle: Path) -> None:
    lines = (bundle / "documents.jsonl").read_bytes().splitlines(keepends=True)
    write_lines(bundle / "documents.jsonl", lines[:-1])
    resigned(bundle)
    with pytest.raises(EmbedmergeError, match="20 vectors of 32 dimensions for 19 passages"):
        search(bundle, ["bank"])
    write_lines(bundle / "documents.jsonl", [*lines[:-1], b"nothing\n"])
    resigned(bundle)
    with pytest.raises(EmbedmergeError, match=r"documents\.jsonl: damaged"):
        list(open_bundle(bundle).passages)


def test_a_store_reads_any_rows(tmp_path: Path, bundle: Path) -> None:
    store = PassageStore(bundle / "documents.jsonl")
    rows = list(store)
    assert (len(store), store[3], store[-1], store[2:5]) == (20, rows[3], rows[-1], rows[2:5])
    with pytest.raises(IndexError):
        store[20]
    store.close()
    with pytest.raises(EmbedmergeError, match="cannot be read"):
        PassageStore(tmp_path / "nothing")
