from __future__ import annotations

import json
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import faiss
import pytest
from bundle_corpora import texts

from embedmerge.api import index
from embedmerge.bundle import BundleSettings, Deletion, open_bundle
from embedmerge.errors import EmbedmergeError

NEEDED = {
    "langchain": "langchain_community",
    "llama-index": "llama_index.vector_stores.faiss",
    "haystack": "haystack",
}
MISSING = [name for name in ("langchain_community", "llama_index", "haystack") if not find_spec(name)]
extra = pytest.mark.skipif(bool(MISSING), reason="the extra `rag` is not installed")


def bundled(model: Path, corpus: Path, folder: Path, *layouts: str, kind: str = "exact") -> list[str]:
    index(str(model), corpus, folder, settings=BundleSettings(kind=kind, layouts=layouts))  # type: ignore[arg-type]
    return present(folder)


def present(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("layout", NEEDED)
def test_what_is_not_installed_is_said_before_anything_is_done(
    layout: str, base: Path, notes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, NEEDED[layout], None)  # as Python itself marks what cannot be imported
    with pytest.raises(EmbedmergeError, match=rf"--layout {layout}: .* pip install 'embedmerge\[rag\]'"):
        bundled(base, notes, tmp_path / "bundle", layout)
    assert not (tmp_path / "bundle").exists()


def test_there_is_no_pickle_unless_it_is_asked_for(base: Path, notes: Path, tmp_path: Path) -> None:
    files = bundled(base, notes, tmp_path / "bundle")
    assert files == ["documents.jsonl", "index/index.faiss", "index/index.json", "manifest.json"]


@extra
def test_layouts_are_added_and_kept_up_to_date(base: Path, notes: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    bundled(base, notes, bundle, "haystack")
    index(None, None, bundle, settings=BundleSettings(layouts=("langchain",)))
    assert open_bundle(bundle).manifest.layouts == ("haystack", "langchain")
    assert {"haystack/documents.json", "langchain/index.faiss", "langchain/index.pkl"} < set(present(bundle))
    index(None, None, bundle, deletion=Deletion(("notes/river.txt",)))
    documents = json.loads((bundle / "haystack" / "documents.json").read_text())["documents"]
    assert [each["id"] for each in documents] == [passage.id for passage in open_bundle(bundle).passages]
    assert faiss.read_index(str(bundle / "langchain" / "index.faiss")).ntotal == 4
    (bundle / "langchain" / "index.pkl").write_bytes(b"evil")
    with pytest.raises(EmbedmergeError, match=r"langchain/index\.pkl: altered"):
        open_bundle(bundle)


@extra
def test_layouts_can_be_taken_away(base: Path, notes: Path, tmp_path: Path, embedmerge: Callable) -> None:
    bundle = tmp_path / "bundle"
    bundled(base, notes, bundle, "haystack")
    _, out, _ = embedmerge("index", "-o", bundle, "--layout", "langchain")
    assert "no document has changed" in out
    assert "with the files of haystack, langchain" in out
    assert embedmerge("index", "-o", bundle, "--layout", "none")[0] == 0
    assert present(bundle) == ["documents.jsonl", "index/index.faiss", "index/index.json", "manifest.json"]


@extra
@pytest.mark.parametrize("kind", ["exact", "hnsw", "ivf"])
def test_every_index_goes_into_every_layout(kind: str, base: Path, table: Callable, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    bundled(base, table("rows.jsonl", texts(120)), bundle, *NEEDED, kind=kind)
    own = faiss.read_index(str(bundle / "langchain" / "index.faiss"))
    assert own.metric_type == (faiss.METRIC_L2 if kind == "exact" else faiss.METRIC_INNER_PRODUCT)
    assert faiss.read_index(str(bundle / "llama-index" / "default__vector_store.json")).ntotal == 120
    documents = json.loads((bundle / "haystack" / "documents.json").read_text())["documents"]
    stored = faiss.read_index(str(bundle / "index" / "index.faiss"))
    if kind == "ivf":
        stored.make_direct_map()
    assert documents[7]["embedding"] == stored.reconstruct(7).tolist()
    assert documents[7]["meta"]["source"] == "rows.jsonl"


@extra
def test_haystack_knows_no_euclidean_distance(make_checkpoint: Callable, notes: Path, tmp_path: Path) -> None:
    model = make_checkpoint("euclidean", normalise=False)
    path = model / "config_sentence_transformers.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "similarity_fn_name": "euclidean"}))
    with pytest.raises(EmbedmergeError, match="--layout haystack: its store knows no Euclidean distance"):
        bundled(model, notes, tmp_path / "bundle", "haystack")
    bundled(model, notes, tmp_path / "bundle", "langchain")
    own = faiss.read_index(str(tmp_path / "bundle" / "langchain" / "index.faiss"))
    assert own.metric_type == faiss.METRIC_L2
