from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from embedmerge.errors import EmbedmergeError
from embedmerge.from_mergekit.configuration import Model, parse_configuration, read_configuration

TIES = {
    "merge_method": "ties",
    "base_model": "org/base",
    "models": [{"model": "org/legal", "parameters": {"weight": 0.5}}],
}


def parsed(content, folder=Path("nowhere")):
    return parse_configuration(content, folder)


def test_a_file_is_read_and_what_it_leaves_out_is_left_out(tmp_path):
    (tmp_path / "ties.yml").write_text(yaml.safe_dump(TIES))
    found = read_configuration(tmp_path / "ties.yml")
    assert (found.method, found.base) == ("ties", Model("org/base"))
    assert [(entry.model.path, entry.parameters) for entry in found.entries] == [
        ("org/legal", {"weight": 0.5})
    ]
    assert (found.parameters, found.dtype, found.out_dtype, found.tokenizer) == ({}, None, None, False)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("org/legal", Model("org/legal")),
        ("org/legal@v1", Model("org/legal", "v1")),
        ({"model": "org/legal@v1"}, Model("org/legal", "v1")),
        ({"model": {"path": "org/legal", "revision": "v1"}, "lora": None}, Model("org/legal", "v1")),
        ({"model": {"path": "org/legal"}, "override_architecture": "MPNetModel"}, Model("org/legal")),
    ],
)
def test_a_model_may_be_written_in_mergekit_s_ways(given, wanted):
    assert parsed({**TIES, "models": [{"model": given}]}).entries[0].model == wanted


def test_a_folder_beside_the_file_goes_before_a_hub_id(tmp_path):
    (tmp_path / "org" / "legal").mkdir(parents=True)
    found = parsed(TIES, tmp_path)
    assert found.entries[0].model.path == str(tmp_path / "org" / "legal")
    assert found.base == Model("org/base")


def test_a_path_that_no_folder_can_have_is_kept_for_the_error_that_follows():
    content = {**TIES, "models": [{"model": "~nobody-of-this-name/legal"}, {"model": "a\0b"}]}
    assert [entry.model.path for entry in parsed(content).entries] == ["~nobody-of-this-name/legal", "a\0b"]


@pytest.mark.parametrize(
    "tokenizer",
    [
        {"tokenizer_source": "base"},
        {"tokenizer_source": "org/base"},
        {"tokenizer": {"source": "base"}},
        {"tokenizer": {"source": "base", "tokens": None}},
    ],
)
def test_the_base_s_tokenizer_may_be_asked_for(tokenizer):
    assert parsed({**TIES, **tokenizer}).tokenizer


def test_the_base_of_a_linear_merge_may_be_its_first_model():
    content = {"merge_method": "linear", "models": [{"model": "org/a"}], "tokenizer_source": "org/a"}
    assert parsed(content).tokenizer


@pytest.mark.parametrize(("given", "wanted"), [("bfloat16", "bfloat16"), ("torch.float16", "float16")])
def test_types_are_those_of_torch(given, wanted):
    found = parsed({**TIES, "dtype": given, "out_dtype": given})
    assert (found.dtype, found.out_dtype) == (wanted, wanted)


def without(key):
    return {name: value for name, value in TIES.items() if name != key}


def with_model(**keys):
    return {**TIES, "models": [{"model": "org/legal", **keys}]}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (without("merge_method"), "merge_method: missing, and needed"),
        ({**TIES, "merge_method": "dare-ties"}, "'dare-ties' is not translated; did you mean 'dare_ties'"),
        ({**TIES, "merge_method": "nuslerp"}, "'nuslerp' is not translated; see `embedmerge methods nusl"),
        ({**TIES, "merge_method": "passthrough"}, "'passthrough' is not translated; there are: linear"),
        ({**TIES, "merge_method": ["ties"]}, "is not translated; did you mean 'ties'"),
        ({**TIES, "slices": [{"sources": []}]}, "slices: stacks layers of several models"),
        ({**TIES, "modules": {"text_decoder": {}}}, "modules: is for models of several modules"),
        ({**TIES, "chat_template": "auto"}, "chat_template: is for chat models"),
        ({**TIES, "normalise": True}, "normalise: no key that mergekit reads"),
        ({**TIES, "paramters": {}}, "paramters: no key that mergekit reads; did you mean 'parameters'"),
        (without("models"), "models: must be a list of models"),
        ({**TIES, "models": []}, "models: must be a list of models"),
        ({**TIES, "models": "org/legal"}, "models: must be a list of models"),
        ({**TIES, "models": TIES["models"] * 2}, "models: org/legal is named twice"),
        ({**TIES, "models": ["org/legal"]}, r"models\[0\]: 'org/legal' must be a mapping"),
        ({**TIES, "models": [{"parameters": {}}]}, r"models\[0\]\.model: missing"),
        (with_model(layer_range=[0, 4]), r"models\[0\]\.layer_range: stacks layers"),
        (with_model(wieght=1), r"models\[0\]\.wieght: no key that mergekit reads; there are: model"),
        (with_model(parameters={"densty": 1}), r"\.densty: no key of ties .* did you mean 'density'"),
        (with_model(parameters={"normalize": True}), r"\.normalize: is read for all models at once"),
        ({**TIES, "parameters": {"lamda": 1}}, r"parameters\.lamda: no key of ties .* did you mean 'lambda'"),
        ({**TIES, "parameters": {"t": 0.5}}, r"parameters\.t: no key of ties"),
        ({**TIES, "parameters": {"normalize": 1}}, r"parameters\.normalize: must be true or false, not 1"),
        ({**TIES, "parameters": {"int8_mask": [1, 0]}}, r"parameters\.int8_mask: must be true or false"),
        ({**TIES, "parameters": [1]}, r"parameters: \[1\] must be a mapping"),
        ({**TIES, "base_model": "org/base+org/lora"}, "'org/base.org/lora' puts an adapter on a model"),
        ({**TIES, "base_model": {"model": "org/base", "lora": "x"}}, "name the adapter's folder"),
        ({**TIES, "base_model": {"model": "org/base", "loar": "x"}}, r"base_model\.loar: no key"),
        ({**TIES, "base_model": {"path": "org/base"}}, r"base_model\.path: no key"),
        ({**TIES, "base_model": {"model": {}}}, "base_model: names no model"),
        ({**TIES, "base_model": ""}, "base_model: names no model"),
        ({**TIES, "dtype": "float64"}, r"dtype: 'float64' is not translated"),
        ({**TIES, "out_dtype": "int8"}, r"out_dtype: 'int8' is not translated"),
        ({**TIES, "tokenizer_source": "union"}, "tokenizer_source: 'union' could change the vocabulary"),
        ({**TIES, "tokenizer_source": "org/legal"}, "'org/legal' could change the vocabulary"),
        ({**TIES, "tokenizer": {}}, "tokenizer_source: 'union' could change the vocabulary"),
        ({**TIES, "tokenizer": {"source": "base", "tokens": {"x": {}}}}, r"tokenizer\.tokens: changes"),
        ({**TIES, "tokenizer": {"source": "base", "pad_to_multiple_of": 8}}, "pad_to_multiple_of: changes"),
        ({**TIES, "tokenizer": {"sauce": "base"}}, r"tokenizer\.sauce: no key"),
        ({**TIES, "tokenizer": {"source": "base"}, "tokenizer_source": "base"}, "keep one of them"),
    ],
)  # fmt: skip
def test_what_is_not_known_or_not_translated_is_refused_by_its_key(content, says):
    with pytest.raises(EmbedmergeError, match=says) as caught:
        parsed(content)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: [", "not valid YAML"),
        ("- a", "not a mapping.*mergekit"),
        ("merge_method: ties", "models: must be"),
    ],
)
def test_errors_name_the_file(text, says, tmp_path):
    (tmp_path / "merge.yml").write_text(text)
    with pytest.raises(EmbedmergeError, match=rf"merge\.yml.*{says}"):
        read_configuration(tmp_path / "merge.yml")
    with pytest.raises(EmbedmergeError, match=r"none\.yml: no such file; give the YAML"):
        read_configuration(tmp_path / "none.yml")
