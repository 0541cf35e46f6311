from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.models import Normalize, Pooling, Transformer

from embedmerge.api import merge
from embedmerge.checkpoint.hub import locate
from embedmerge.checkpoint.layout import open_checkpoint
from embedmerge.errors import EmbedmergeError
from embedmerge.retrieval.settings import EncodingSettings
from embedmerge.sources import (
    SourceSpec,
    encoder_model,
    open_sources,
    require_all_finite,
    short_name,
    source_encoder,
)

TEXTS = ["how do i merge two models", "the river bank", "a judge read the contract"]


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("EMBEDMERGE_CACHE", str(tmp_path / "cache"))


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


def plain(folder):
    """What transformers training leaves behind: no module files."""
    for name in ("modules.json", "sentence_bert_config.json", "config_sentence_transformers.json"):
        (folder / name).unlink()
    for name in ("1_Pooling", "2_Normalize"):
        shutil.rmtree(folder / name, ignore_errors=True)
    return folder


def test_encoder_model_of_a_folder_that_does_not_pool_is_refused(copy):
    checkpoint = open_checkpoint(locate(str(plain(copy))), "legal")
    with pytest.raises(EmbedmergeError, match=r"legal.*does not say how it pools"):
        encoder_model(checkpoint)


def test_an_expert_without_module_files_is_encoded_as_the_base_is(make_checkpoint, make_expert, tmp_path):
    base = make_checkpoint("sources-cls", pooling="cls", prompts={"query": "find: "})
    expert = make_expert("sources-plain", base=base)
    whole = Path(shutil.copytree(expert, tmp_path / "whole"))
    sources, warnings = open_sources(specs(base, legal=plain(expert), whole=whole))
    assert any("legal: a plain transformers folder" in str(each) for each in warnings)
    vectors = [source_encoder(source, EncodingSettings(), None) for source in sources[1:]]
    found = [encoder.embed(TEXTS, encoder.model.prompt("query")) for encoder in vectors]
    assert vectors[0].model.prompts == {"query": "find: "}
    assert np.array_equal(found[0], found[1])
    assert not np.allclose(found[0], vectors[0].embed(TEXTS))  # the prompt counts
    assert (vectors[0].model.folder / "model.safetensors").resolve() == expert / "model.safetensors"
    assert not (expert / "modules.json").exists()


def test_a_base_without_module_files_needs_its_pooling_stated(copy, expert):
    with pytest.raises(EmbedmergeError, match=r"base: .* does not say how its tokens are pooled.*--pooling"):
        open_sources(specs(plain(copy), legal=expert))


@pytest.mark.parametrize("pooling", ["cls", "mean", "max", "lasttoken"])
@pytest.mark.parametrize("normalise", [True, False])
def test_a_base_with_its_pooling_stated(copy, expert, tmp_path, pooling, normalise):
    other = Path(shutil.copytree(plain(copy), tmp_path / "other"))
    base = SourceSpec("base", str(copy), "base", pooling=pooling, normalise=normalise)
    sources, _ = open_sources([base, SourceSpec("legal", str(other), "target")])
    found = source_encoder(sources[0], EncodingSettings(), None).embed(TEXTS)
    transformer = Transformer(str(copy))
    modules = [transformer, Pooling(transformer.get_embedding_dimension(), pooling_mode=pooling)]
    wanted = SentenceTransformer(modules=[*modules, *([Normalize()] if normalise else [])], device="cpu")
    assert np.allclose(found, wanted.encode(TEXTS), atol=1e-5)
    merge([base, SourceSpec("legal", str(other), "target")], [0.5, 0.5], tmp_path / "out")
    exported = SentenceTransformer(str(tmp_path / "out"), device="cpu")
    assert np.allclose(exported.encode(TEXTS), wanted.encode(TEXTS), atol=1e-5)  # of two like models
    listed = json.loads((tmp_path / "out" / "modules.json").read_text())
    assert all(entry["type"].startswith("sentence_transformers.models.") for entry in listed)


def test_a_normalisation_that_nobody_states_is_told(copy, tmp_path):
    other = Path(shutil.copytree(plain(copy), tmp_path / "other"))
    stated = [SourceSpec("base", str(copy), "base", pooling="cls"), SourceSpec("legal", str(other), "target")]
    assert any(
        "nothing says whether its vectors are normalised" in str(each) for each in open_sources(stated)[1]
    )


@pytest.mark.parametrize(
    ("pooling", "normalise", "message"),
    [
        ("cls", None, "pooling cls is asked for, its own files say mean"),
        ("mean", False, "normalise false is asked for, its own files say true"),
        ("middle", None, "pooling middle: no such pooling"),
        (None, True, "`normalise` is given without `pooling`"),
    ],
)
def test_a_stated_pooling_that_cannot_be(base, expert, pooling, normalise, message):
    stated = SourceSpec("base", str(base), "base", pooling=pooling, normalise=normalise)
    with pytest.raises(EmbedmergeError, match=message):
        open_sources([stated, SourceSpec("legal", str(expert), "target")])


def test_a_stated_pooling_that_the_folder_states_too_is_none_of_our_business(base, expert):
    stated = SourceSpec("base", str(base), "base", pooling="mean", normalise=True)
    assert open_sources([stated, SourceSpec("legal", str(expert), "target")])[1] == ()
