from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from sentence_transformers import SentenceTransformer

from embedmerge import SourceSpec, merge
from embedmerge.exporting.readers import INFINITY, OLDER, TEI, unreadable


def edit(folder, place, **changes):
    path = folder / place
    content = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not ...}))


@pytest.fixture(scope="module")
def native(tmp_path_factory, base):
    """A model as sentence-transformers 6.2 saves it."""
    folder = tmp_path_factory.mktemp("readers") / "native"
    SentenceTransformer(str(base), device="cpu").save_pretrained(str(folder))
    return folder


@pytest.fixture(scope="module")
def exported(tmp_path_factory, native):
    """A merge with such a base."""
    folder = tmp_path_factory.mktemp("readers") / "merged"
    sources = [SourceSpec("base", str(native), "base"), SourceSpec("expert", str(native), "peer")]
    return merge(sources, [0.5, 0.5], folder).folder


@pytest.fixture
def copied(exported, tmp_path):
    return Path(shutil.copytree(exported, tmp_path / "copied"))


def test_everybody_reads_an_export(exported, base):
    assert unreadable(exported) == unreadable(base) == []


def test_a_native_save_is_not_read_by_all(native):
    found = {(each.program, each.place) for each in unreadable(native)}
    assert found == {
        (TEI, "1_Pooling/config.json"),
        (TEI, "sentence_bert_config.json"),
        (OLDER, "modules.json"),
    }


@pytest.mark.parametrize(
    ("place", "changes", "programs"),
    [
        ("config.json", {"architectures": ...}, {TEI, INFINITY}),
        ("config.json", {"architectures": ["BertForSequenceClassification"]}, {TEI, INFINITY}),
        ("config.json", {"max_position_embeddings": ...}, {TEI, INFINITY}),
        ("config.json", {"model_type": "modernbert"}, {TEI}),
        ("config.json", {"model_type": "qwen3"}, {TEI}),
        ("1_Pooling/config.json", {"pooling_mode_mean_tokens": ...}, {TEI}),
        ("1_Pooling/config.json", {"pooling_mode_mean_tokens": False}, {TEI}),
        ("1_Pooling/config.json", {"pooling_mode_cls_token": "false"}, {TEI}),
        ("sentence_bert_config.json", {"max_seq_length": None}, {TEI}),
        ("config_sentence_transformers.json", {"prompts": {"query": 1}}, {TEI}),
        ("tokenizer.json", {"model": ...}, {TEI}),
    ],
)
def test_a_field_that_is_missing_is_named(copied, place, changes, programs):
    edit(copied, place, **changes)
    found = unreadable(copied)
    assert {each.program for each in found} == programs
    assert {each.place for each in found} == {place}
    assert str(found[0]).startswith(f"{found[0].program} cannot read {place}: ")


@pytest.mark.parametrize("place", ["config.json", "1_Pooling/config.json", "tokenizer.json", "modules.json"])
def test_a_file_that_is_missing_is_named(copied, place):
    (copied / place).unlink()
    assert {(each.place, each.reason) for each in unreadable(copied)} == {(place, "it is not there")}


def test_what_a_file_has_beside_is_nobodys_business(copied):
    edit(copied, "config.json", further={"a": 1})
    assert unreadable(copied) == []
