from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from embedmerge.errors import EmbedmergeError
from embedmerge.sources import SourceSpec, encoder_model, open_sources, require_all_finite, short_name


def specs(base, **experts):
    """A base and experts by name; the first expert is the target."""
    roles = ["target", *["peer"] * len(experts)]
    named = zip(experts.items(), roles, strict=False)
    return [
        SourceSpec("base", str(base), "base"),
        *(SourceSpec(name, str(path), role) for (name, path), role in named),
    ]


@pytest.fixture
def copy(tmp_path, expert):
    return Path(shutil.copytree(expert, tmp_path / "copy"))


def test_sources_are_opened_in_the_order_given(base, expert, peer):
    sources, warnings = open_sources(specs(base, legal=expert, code=peer))
    assert [(source.name, source.role) for source in sources] == [
        ("base", "base"),
        ("legal", "target"),
        ("code", "peer"),
    ]
    assert [source.checkpoint.name for source in sources] == ["base", "legal", "code"]
    assert [source.checkpoint.folder for source in sources] == [base, expert, peer]
    assert warnings == ()


def test_two_sources_of_one_name_are_refused_before_any_is_opened():
    twice = [SourceSpec("a", "/no/such/folder", "base"), SourceSpec("a", "/nor/this", "peer")]
    with pytest.raises(EmbedmergeError, match="a: two sources have this name"):
        open_sources(twice)


def test_one_folder_may_be_two_sources(base):
    sources, _ = open_sources(specs(base, again=base))
    assert sources[0].weights_sha256 == sources[1].weights_sha256


def test_the_gates_warnings_are_passed_through(base, copy):
    (copy / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 8}))
    _, warnings = open_sources(specs(base, legal=copy))
    assert [(finding.level, finding.source) for finding in warnings] == [("warning", "legal")]
    assert "maximum length 8" in warnings[0].text


def test_the_gates_errors_are_raised(base, make_checkpoint):
    with pytest.raises(EmbedmergeError, match="legal: layers 3"):
        open_sources(specs(base, legal=make_checkpoint("sources-deep", layers=3)))


def test_a_source_that_cannot_be_found_is_named(base):
    with pytest.raises(EmbedmergeError, match="/no/such/folder"):
        open_sources(specs(base, legal="/no/such/folder"))


def test_the_same_weights_under_another_folder_name_have_the_same_digests(base, expert, copy):
    (_, original), _ = open_sources(specs(base, legal=expert))
    (_, moved), _ = open_sources(specs(base, other=copy))
    assert original.weights_sha256 == moved.weights_sha256
    assert original.model_sha256 == moved.model_sha256
    assert len(original.weights_sha256) == 64


def test_other_weights_have_other_digests(base, expert, peer):
    sources, _ = open_sources(specs(base, legal=expert, code=peer))
    assert len({source.weights_sha256 for source in sources}) == 3
    assert len({source.model_sha256 for source in sources}) == 3


@pytest.mark.parametrize("name", ["tokenizer.json", "1_Pooling/config.json", "sentence_bert_config.json"])
def test_a_changed_module_file_changes_the_models_digest(base, expert, copy, name):
    (copy / name).write_text((copy / name).read_text() + "\n")
    (_, original), _ = open_sources(specs(base, legal=expert))
    (_, changed), _ = open_sources(specs(base, legal=copy))
    assert changed.weights_sha256 == original.weights_sha256
    assert changed.model_sha256 != original.model_sha256


def test_require_all_finite_names_source_and_tensor(base, expert, copy):
    tensors = load_file(copy / "model.safetensors")
    tensors["pooler.dense.bias"][3] = np.nan
    save_file(tensors, copy / "model.safetensors", metadata={"format": "pt"})
    sources, _ = open_sources(specs(base, legal=expert, code=copy))
    require_all_finite(sources[:2])
    with pytest.raises(EmbedmergeError, match=r"^code: tensor 'pooler\.dense\.bias'"):
        require_all_finite(sources)


@pytest.mark.parametrize(
    ("path", "name"),
    [("BAAI/bge-m3", "bge-m3"), ("runs/legal/", "legal"), ("legal", "legal"), ("/", "/"), ("/a/b//", "b")],
)
def test_short_name_is_the_last_part(path, name):
    assert short_name(path) == name


def test_encoder_model_tells_what_encoding_needs(make_checkpoint):
    folder = make_checkpoint("sources-prompts", prompts={"query": "find: "}, normalise=False)
    settings = json.loads((folder / "config_sentence_transformers.json").read_text())
    (folder / "config_sentence_transformers.json").write_text(
        json.dumps({**settings, "default_prompt_name": "query", "similarity_fn_name": "dot"})
    )
    (source,), _ = open_sources(specs(folder))
    model = encoder_model(source.checkpoint)
    assert (model.name, model.folder, model.sha256) == ("base", folder, source.model_sha256)
    assert (model.prompts, model.default_prompt) == ({"query": "find: "}, "query")
    assert (model.normalises, model.similarity) == (False, "dot")


def test_encoder_model_of_a_folder_that_does_not_pool_is_refused(base, copy):
    (copy / "modules.json").unlink()
    (_, source), _ = open_sources(specs(base, legal=copy))
    with pytest.raises(EmbedmergeError, match=r"legal.*does not say how it pools"):
        encoder_model(source.checkpoint)
