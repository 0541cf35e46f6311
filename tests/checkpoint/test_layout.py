from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from embedmerge.checkpoint.hub import Location
from embedmerge.checkpoint.layout import open_checkpoint
from embedmerge.checkpoint.text_files import read_json, read_object
from embedmerge.checkpoint.vocabulary import vocabulary
from embedmerge.errors import EmbedmergeError


def opened(folder, name=None):
    return open_checkpoint(Location(str(folder), Path(folder), None), name)


def write_json(path, value):
    path.write_text(json.dumps(value))


def refused(folder):
    """The error for a folder, which must be one line."""
    with pytest.raises(EmbedmergeError) as caught:
        opened(folder)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


@pytest.fixture
def copy(tmp_path, base):
    """A copy of the base to damage."""
    return Path(shutil.copytree(base, tmp_path / "copy"))


@pytest.fixture(scope="module")
def native(tmp_path_factory, base):
    """The base as sentence-transformers 6.2 saves it."""
    from sentence_transformers import SentenceTransformer

    folder = tmp_path_factory.mktemp("native") / "model"
    SentenceTransformer(str(base), device="cpu").save_pretrained(str(folder))
    return folder


@pytest.fixture(scope="module")
def plain(tmp_path_factory, base):
    """The base as transformers saves it, in several shards."""
    from transformers import AutoModel, AutoTokenizer

    folder = tmp_path_factory.mktemp("plain") / "model"
    AutoModel.from_pretrained(str(base)).save_pretrained(str(folder), max_shard_size="20KB")
    AutoTokenizer.from_pretrained(str(base)).save_pretrained(str(folder))
    return folder


def in_subfolder(base, target):
    """The base in the oldest layout, with its transformer in 0_Transformer."""
    shutil.copytree(base, target)
    (target / "0_Transformer").mkdir()
    for name in (
        "config.json",
        "model.safetensors",
        "sentence_bert_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "vocab.txt",
    ):
        (target / name).rename(target / "0_Transformer" / name)
    modules = json.loads((target / "modules.json").read_text())
    modules[0]["path"] = "0_Transformer"
    write_json(target / "modules.json", modules)
    return target


def names(checkpoint):
    return {name for module in checkpoint.tensors.values() for name in module}


def test_facts_of_a_legacy_folder(make_checkpoint):
    folder = make_checkpoint(
        "layout-legacy",
        layers=3,
        hidden=16,
        prompts={"query": "Represent: ", "document": ""},
        max_seq_length=40,
    )
    checkpoint = opened(folder)
    assert checkpoint.name == "layout-legacy"
    assert checkpoint.layout == "sentence-transformers"
    assert [module.kind for module in checkpoint.modules] == ["Transformer", "Pooling", "Normalize"]
    assert (checkpoint.architecture, checkpoint.depth, checkpoint.width) == ("bert", 3, 16)
    assert checkpoint.pooling == "mean"
    assert checkpoint.normalises
    assert checkpoint.prompts == {"query": "Represent: "}
    assert checkpoint.similarity == "cosine"
    assert checkpoint.max_seq_length == 40
    assert checkpoint.dtypes == ("F32",)
    tensors = load_file(folder / "model.safetensors")
    assert names(checkpoint) == tensors.keys()
    assert checkpoint.parameters == sum(tensor.size for tensor in tensors.values())
    assert checkpoint.weight_files() == (folder / "model.safetensors",)


def test_facts_of_an_xlm_roberta_that_does_not_normalise(make_checkpoint):
    folder = make_checkpoint("layout-xlmr", arch="xlm-roberta", pooling="cls", normalise=False)
    checkpoint = opened(folder, "mine")
    assert (checkpoint.name, checkpoint.architecture) == ("mine", "xlm-roberta")
    assert (checkpoint.pooling, checkpoint.normalises) == ("cls", False)


def test_a_native_save_tells_the_same_facts_as_the_legacy_folder(native, base):
    found, wanted = opened(native), opened(base)
    assert found.modules[1].type == "sentence_transformers.sentence_transformer.modules.pooling.Pooling"
    for fact in ("architecture", "depth", "width", "pooling", "normalises", "prompts", "similarity"):
        assert getattr(found, fact) == getattr(wanted, fact), fact
    assert (found.dtypes, found.parameters) == (wanted.dtypes, wanted.parameters)
    assert names(found) == names(wanted)
    assert found.max_seq_length == 48


def test_a_plain_sharded_transformers_folder(plain, base):
    checkpoint, wanted = opened(plain), opened(base)
    assert len(checkpoint.weight_files()) > 2
    assert checkpoint.layout == "transformers"
    assert [module.kind for module in checkpoint.modules] == ["Transformer"]
    assert checkpoint.pooling is None
    assert not checkpoint.normalises
    assert checkpoint.depth == wanted.depth
    assert checkpoint.parameters == wanted.parameters
    located = checkpoint.tensors_of(0)
    for name, tensor in wanted.tensors_of(0).items():
        assert load_file(located[name].file)[name].shape == tensor.info.shape


def test_the_oldest_layout_keeps_its_transformer_in_a_subfolder(tmp_path, base):
    checkpoint, wanted = opened(in_subfolder(base, tmp_path / "old")), opened(base)
    assert checkpoint.transformer.path == "0_Transformer"
    assert checkpoint.tensors.keys() == {"0_Transformer"}
    for fact in ("depth", "width", "pooling", "max_seq_length", "parameters"):
        assert getattr(checkpoint, fact) == getattr(wanted, fact), fact
    assert checkpoint.tokenizer_config == wanted.tokenizer_config
    places = {path.relative_to(checkpoint.folder).as_posix() for path in checkpoint.module_files()}
    assert "0_Transformer/tokenizer.json" in places
    assert "0_Transformer/model.safetensors" not in places


def test_tensors_are_found_by_place_in_the_stack_whatever_the_folder(tmp_path, base):
    old, new = opened(in_subfolder(base, tmp_path / "old")), opened(base)
    assert old.tensors_of(0).keys() == new.tensors_of(0).keys() != set()
    assert old.tensors_of(1) == {}
    assert old.tensors_of(9) == {}


def test_modules_come_in_the_order_of_idx(copy):
    modules = json.loads((copy / "modules.json").read_text())
    write_json(copy / "modules.json", modules[::-1])
    assert [module.kind for module in opened(copy).modules] == ["Transformer", "Pooling", "Normalize"]


def test_dtypes_are_sorted_by_elements_and_integers_do_not_count(copy):
    tensors = {
        "a": np.zeros(10, np.float16),
        "b": np.zeros(30, np.float32),
        "c": np.zeros(99, np.int64),
    }
    save_file(tensors, copy / "model.safetensors")
    checkpoint = opened(copy)
    assert checkpoint.dtypes == ("F32", "F16")
    assert checkpoint.parameters == 40


@pytest.mark.parametrize(
    ("config", "mode"),
    [
        ({"pooling_mode": "lasttoken"}, "lasttoken"),
        ({"pooling_mode": ["cls", "mean"]}, "cls+mean"),
        ({"pooling_mode_cls_token": True, "pooling_mode_max_tokens": True}, "cls+max"),
        ({"pooling_mode_mean_sqrt_len_tokens": True}, "mean_sqrt_len_tokens"),
        ({}, None),
    ],
)
def test_pooling_is_read_from_either_schema(copy, config, mode):
    write_json(copy / "1_Pooling" / "config.json", config)
    assert opened(copy).pooling == mode


@pytest.mark.parametrize(
    ("stated", "positions", "tokenizer", "length"),
    [
        (32, 66, 64, 32),
        (None, 66, 64, 64),
        (None, 40, 64, 40),
        (None, 66, 1e30, 66),
        (None, None, None, None),
    ],
)
def test_max_seq_length_falls_back_to_positions_and_tokenizer(copy, stated, positions, tokenizer, length):
    write_json(copy / "sentence_bert_config.json", {"max_seq_length": stated})
    config = json.loads((copy / "config.json").read_text())
    write_json(copy / "config.json", {**config, "max_position_embeddings": positions})
    write_json(copy / "tokenizer_config.json", {"model_max_length": tokenizer})
    assert opened(copy).max_seq_length == length


def test_module_files_are_all_but_weights_cards_and_our_own(copy):
    for name in (
        "README.md",
        "embedmerge.json",
        "recipe.lock.yaml",
        "pytorch_model.bin",
        ".hidden",
        "x.onnx",
    ):
        (copy / name).write_text("x")
    (copy / "elsewhere").mkdir()
    (copy / "elsewhere" / "config.json").write_text("{}")
    places = {path.relative_to(copy).as_posix() for path in opened(copy).module_files()}
    assert places == {
        "1_Pooling/config.json",
        "config.json",
        "config_sentence_transformers.json",
        "modules.json",
        "sentence_bert_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "vocab.txt",
    }


@pytest.mark.parametrize(
    ("card", "stated"),
    [
        ("---\ntags:\n- x\nlicense: mit\n---\n# A\n", "mit"),
        ("---\nlicense: 'apache-2.0'\n---\n", "apache-2.0"),
        ("---\ntags: []\n---\nlicense: mit\n", None),
        ("license: mit\n", None),
        ("---\nlicense:\n---\n", None),
        ("", None),
    ],
)
def test_the_licence_is_the_front_matters(copy, card, stated):
    (copy / "README.md").write_text(card)
    assert opened(copy).license == stated


def test_no_card_no_licence(copy):
    assert opened(copy).license is None


def test_an_index_that_names_a_missing_shard_is_refused(tmp_path, plain):
    folder = Path(shutil.copytree(plain, tmp_path / "model"))
    shard = sorted(folder.glob("model-*.safetensors"))[1]
    shard.unlink()
    assert f"names {shard.name}, which is not there" in refused(folder)


@pytest.mark.parametrize("name", ["../x.safetensors", "/etc/x.safetensors", ".x", "a/b", 7, ["x"], None])
def test_an_index_that_names_anything_but_a_file_beside_it_is_refused(tmp_path, plain, name):
    folder = Path(shutil.copytree(plain, tmp_path / "model"))
    index = folder / "model.safetensors.index.json"
    content = json.loads(index.read_text())
    content["weight_map"]["embeddings.word_embeddings.weight"] = name
    write_json(index, content)
    assert str(index) in refused(folder)


@pytest.mark.parametrize("content", [{}, {"weight_map": {}}, {"weight_map": ["x"]}, ["x"], "x", None])
def test_an_index_without_a_map_is_refused(tmp_path, plain, content):
    folder = Path(shutil.copytree(plain, tmp_path / "model"))
    index = folder / "model.safetensors.index.json"
    write_json(index, content)
    assert str(index) in refused(folder)


@pytest.mark.parametrize("path", ["../outside", "1_Pooling/../../outside", "/etc"])
def test_a_module_outside_the_folder_is_refused(copy, path):
    modules = json.loads((copy / "modules.json").read_text())
    modules[1]["path"] = path
    write_json(copy / "modules.json", modules)
    message = refused(copy)
    assert str(copy / "modules.json") in message
    assert "outside" in message


@pytest.mark.parametrize(
    "entries",
    [
        {},
        [1],
        [{"idx": 0}],
        [{"idx": "x", "path": "", "type": "t"}],
        [{"idx": None, "path": "", "type": ""}],
        3,
    ],
)
def test_a_modules_json_of_another_form_is_refused(copy, entries):
    write_json(copy / "modules.json", entries)
    assert str(copy) in refused(copy)


def test_modules_without_a_transformer_are_refused(copy):
    modules = json.loads((copy / "modules.json").read_text())
    write_json(copy / "modules.json", modules[1:])
    assert "no Transformer" in refused(copy)


def test_only_bin_weights_are_refused_with_advice(copy):
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
    message = refused(copy)
    assert str(copy) in message
    assert "safetensors" in message
    assert ".bin" in message


def test_no_weights_at_all_are_refused(copy):
    (copy / "model.safetensors").unlink()
    assert "no model.safetensors" in refused(copy)


def test_a_dense_module_whose_weights_are_missing_is_refused(copy):
    modules = json.loads((copy / "modules.json").read_text())
    dense = {"idx": 3, "name": "3", "path": "3_Dense", "type": "sentence_transformers.models.Dense"}
    write_json(copy / "modules.json", [*modules, dense])
    (copy / "3_Dense").mkdir()
    (copy / "3_Dense" / "config.json").write_text("{}")
    assert str(copy / "3_Dense") in refused(copy)
    (copy / "3_Dense" / "pytorch_model.bin").write_bytes(b"x")
    assert "no weights saved by torch" in refused(copy)
    save_file({"linear.weight": np.zeros((2, 2), np.float32)}, copy / "3_Dense" / "model.safetensors")
    assert opened(copy).tensors_of(3).keys() == {"linear.weight"}


def test_a_folder_without_config_is_no_model_folder(tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    message = refused(tmp_path)
    assert str(tmp_path) in message
    assert "config.json" in message


@pytest.mark.parametrize("name", ["modules.json", "config.json", "1_Pooling/config.json"])
@pytest.mark.parametrize("content", [b"{", b"", b'{"\xff": 1}', b"[" * 100_000])
def test_broken_json_is_one_line_that_names_the_file(copy, name, content):
    (copy / name).write_bytes(content)
    assert str(copy / name) in refused(copy)


@pytest.mark.parametrize(
    ("name", "fact"),
    [
        ("config.json", "depth"),
        ("config_sentence_transformers.json", "prompts"),
        ("sentence_bert_config.json", "max_seq_length"),
        ("tokenizer_config.json", "tokenizer_config"),
    ],
)
@pytest.mark.parametrize("content", ["[1]", "null", "7", '"x"'])
def test_json_that_is_no_object_is_one_line_that_names_the_file(copy, name, fact, content):
    (copy / name).write_text(content)
    with pytest.raises(EmbedmergeError) as caught:
        getattr(opened(copy), fact)
    assert str(copy / name) in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_damaged_weights_are_found_on_opening(copy):
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    assert str(weights) in refused(copy)


def test_read_json_of_a_missing_file_is_a_readable_error(tmp_path):
    with pytest.raises(EmbedmergeError, match="cannot be read"):
        read_json(tmp_path / "absent.json")


def test_read_object_of_a_missing_file_is_empty(tmp_path):
    assert read_object(tmp_path / "absent.json") == {}


@pytest.mark.parametrize(
    ("file", "key", "value"),
    [
        ("config.json", "num_hidden_layers", "six"),
        ("config.json", "hidden_size", [32]),
        ("config.json", "max_position_embeddings", 1.5),
        ("config.json", "pad_token_id", True),
        ("sentence_bert_config.json", "max_seq_length", "long"),
        ("config_sentence_transformers.json", "prompts", ["query: "]),
        ("config_sentence_transformers.json", "prompts", {"query": 3}),
    ],
)
def test_a_setting_of_the_wrong_type_is_refused(copy, file, key, value):
    stated = json.loads((copy / file).read_text())
    write_json(copy / file, {**stated, key: value})
    with pytest.raises(EmbedmergeError) as caught:
        checkpoint = opened(copy)
        _ = checkpoint.max_seq_length, checkpoint.prompts
    assert str(caught.value).startswith(f"{copy / file}: ")
    assert key in str(caught.value)


def test_a_vocabulary_that_is_no_text_is_refused(copy):
    (copy / "tokenizer.json").unlink()
    (copy / "vocab.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(EmbedmergeError, match=r"vocab.txt: not UTF-8 text"):
        vocabulary(opened(copy))
