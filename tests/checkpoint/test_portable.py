from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer
from tokenizers import Tokenizer
from transformers import AutoTokenizer, ModernBertConfig

from embedmerge.checkpoint.hub import Location
from embedmerge.checkpoint.layout import open_checkpoint
from embedmerge.checkpoint.older_forms import with_older_config
from embedmerge.checkpoint.portable import portable_files

TEXTS = ["how do i merge two models", "the river bank", "a judge read the contract " * 20]
PROMPTS = {"query": "what is ", "document": "about "}


def opened(folder):
    return open_checkpoint(Location(str(folder), Path(folder), None))


def export(donor, target):
    """The donor's weights beside the portable module files."""
    for place, content in portable_files(opened(donor)).items():
        (target / place).parent.mkdir(parents=True, exist_ok=True)
        (target / place).write_bytes(content)
    (target / "model.safetensors").write_bytes((donor / "model.safetensors").read_bytes())
    return target


def read(folder, place):
    return json.loads((folder / place).read_text())


@pytest.fixture(scope="module", params=["cls", "mean"])
def exported(request, tmp_path_factory, make_checkpoint):
    """A donor as sentence-transformers 6.2 saves it, its export, and its pooling."""
    root = tmp_path_factory.mktemp("portable")
    arch = "xlm-roberta" if request.param == "cls" else "bert"
    legacy = make_checkpoint(f"portable-{arch}", arch=arch, pooling=request.param, prompts=PROMPTS)
    model = SentenceTransformer(str(legacy), device="cpu")
    model.max_seq_length = 24
    model.save_pretrained(str(root / "native"))
    return root / "native", export(root / "native", root / "export"), request.param


def test_a_native_save_gets_the_module_types_that_all_versions_know(exported):
    native, portable, _ = exported
    assert not any("sentence_transformers.models" in entry["type"] for entry in read(native, "modules.json"))
    assert [entry["type"] for entry in read(portable, "modules.json")] == [
        "sentence_transformers.models.Transformer",
        "sentence_transformers.models.Pooling",
        "sentence_transformers.models.Normalize",
    ]


def test_a_native_save_gets_the_pooling_booleans_beside_the_mode(exported):
    native, portable, pooling = exported
    assert "pooling_mode_cls_token" not in read(native, "1_Pooling/config.json")
    assert read(portable, "1_Pooling/config.json") == {
        "word_embedding_dimension": 32,
        "pooling_mode_cls_token": pooling == "cls",
        "pooling_mode_mean_tokens": pooling == "mean",
        "pooling_mode_max_tokens": False,
        "pooling_mode_mean_sqrt_len_tokens": False,
        "pooling_mode_weightedmean_tokens": False,
        "pooling_mode_lasttoken": False,
        "include_prompt": True,
        "pooling_mode": pooling,
    }


def test_a_native_save_gets_its_maximum_length_back(exported):
    native, portable, _ = exported
    assert "max_seq_length" not in read(native, "sentence_bert_config.json")
    assert read(portable, "sentence_bert_config.json") == {"max_seq_length": 24, "do_lower_case": False}


def test_what_need_not_be_rewritten_is_copied_byte_for_byte(exported):
    native, portable, _ = exported
    for name in ("config.json", "tokenizer.json", "config_sentence_transformers.json"):
        assert (portable / name).read_bytes() == (native / name).read_bytes()


def test_a_native_save_gets_the_tokenizer_class_that_all_versions_know(exported):
    native, portable, pooling = exported
    before, after = (read(folder, "tokenizer_config.json") for folder in (native, portable))
    wanted = {"mean": "BertTokenizer", "cls": "PreTrainedTokenizerFast"}[pooling]
    assert before["tokenizer_class"] == wanted.replace("PreTrainedTokenizerFast", "TokenizersBackend")
    assert after == {**before, "tokenizer_class": wanted}


def test_donor_and_export_embed_alike(exported):
    native, portable, _ = exported
    donor, export = (SentenceTransformer(str(folder), device="cpu") for folder in (native, portable))
    assert donor.max_seq_length == export.max_seq_length == 24
    for encode in ("encode", "encode_query", "encode_document"):
        found, wanted = (getattr(model, encode)(TEXTS) for model in (export, donor))
        assert np.abs(found - wanted).max() < 1e-6
    assert np.abs(donor.encode_query(TEXTS) - donor.encode(TEXTS)).max() > 1e-3  # the prompts count


@pytest.mark.parametrize("arch", ["bert", "xlm-roberta"])
def test_a_legacy_donor_comes_out_byte_for_byte(make_checkpoint, arch):
    folder = make_checkpoint(f"portable-legacy-{arch}", arch=arch, prompts=PROMPTS)
    wanted = {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "model.safetensors"
    }
    assert len(wanted) > 5
    assert portable_files(opened(folder)) == wanted


def test_several_pooling_modes_stay_several(tmp_path, base):
    model = SentenceTransformer(str(base), device="cpu")
    model.save_pretrained(str(tmp_path / "native"))
    config = read(tmp_path / "native", "1_Pooling/config.json")
    (tmp_path / "native" / "1_Pooling" / "config.json").write_text(
        json.dumps({**config, "pooling_mode": ["cls", "mean"]})
    )
    donor = tmp_path / "native"
    portable = export(donor, tmp_path / "export")
    pooling = read(portable, "1_Pooling/config.json")
    assert pooling["pooling_mode_cls_token"] is pooling["pooling_mode_mean_tokens"] is True
    assert pooling["pooling_mode_max_tokens"] is False
    found, wanted = (
        SentenceTransformer(str(folder), device="cpu").encode(TEXTS) for folder in (portable, donor)
    )
    assert wanted.shape == (3, 64)
    assert np.abs(found - wanted).max() < 1e-6


def test_special_tokens_get_the_name_that_all_versions_know(tmp_path, base):
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.add_special_tokens({"extra_special_tokens": ["<query>"]})
    native = Path(shutil.copytree(base, tmp_path / "native"))
    tokenizer.save_pretrained(native)
    assert read(native, "tokenizer_config.json")["extra_special_tokens"] == ["<query>"]
    portable = export(native, tmp_path / "export")
    written = read(portable, "tokenizer_config.json")
    assert written["additional_special_tokens"] == ["<query>"] and "extra_special_tokens" not in written
    again = AutoTokenizer.from_pretrained(portable)
    assert again.tokenize("bank <query> loan") == ["bank", "<query>", "loan"]
    assert "<query>" in again.all_special_tokens


def test_a_legacy_donor_without_a_length_gets_the_one_it_has(tmp_path, base):
    donor = Path(shutil.copytree(base, tmp_path / "donor"))
    (donor / "sentence_bert_config.json").write_text('{"max_seq_length": null, "do_lower_case": true}')
    files = portable_files(opened(donor))
    assert json.loads(files["sentence_bert_config.json"]) == {"max_seq_length": 64, "do_lower_case": True}
    assert files["modules.json"] == (donor / "modules.json").read_bytes()
    assert SentenceTransformer(str(donor), device="cpu").max_seq_length == 64


def test_rotary_positions_are_found_under_both_names(tmp_path):
    config = ModernBertConfig(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=5,
        num_attention_heads=4,
        global_attn_every_n_layers=2,
        global_rope_theta=40_000.0,
        local_rope_theta=7_000.0,
    ).to_dict()
    assert "global_rope_theta" not in config
    older = with_older_config(config)
    assert (older["global_rope_theta"], older["local_rope_theta"]) == (40_000.0, 7_000.0)
    assert older["global_attn_every_n_layers"] == 2
    again = ModernBertConfig(**older)
    assert again.rope_parameters == config["rope_parameters"] and again.layer_types == config["layer_types"]


def test_scaled_rotary_positions_keep_their_scale():
    rope = {"rope_theta": 500_000.0, "rope_type": "linear", "factor": 4.0}
    older = with_older_config({"model_type": "llama", "rope_parameters": rope})
    assert older["rope_theta"] == 500_000.0
    assert older["rope_scaling"] == {"rope_type": "linear", "factor": 4.0}


@pytest.mark.parametrize("rope", [None, {"rope_theta": 10_000.0}])
def test_what_is_stated_already_is_left(rope):
    config = {"model_type": "qwen3", "rope_theta": 5.0, "rope_parameters": rope}
    assert with_older_config(config) == config


def test_a_vocabulary_alone_becomes_a_tokenizer_file(tmp_path, base):
    donor = Path(shutil.copytree(base, tmp_path / "donor"))
    (donor / "tokenizer.json").unlink()
    portable = export(donor, tmp_path / "export")
    made = Tokenizer.from_file(str(portable / "tokenizer.json"))
    for text in TEXTS:
        assert made.encode(text).ids == AutoTokenizer.from_pretrained(donor)(text)["input_ids"]
    found, wanted = (
        SentenceTransformer(str(folder), device="cpu").encode(TEXTS) for folder in (portable, donor)
    )
    assert np.array_equal(found, wanted)
    assert portable_files(opened(donor)) == portable_files(opened(donor))


def test_no_tokenizer_is_made_of_nothing(tmp_path, base):
    donor = Path(shutil.copytree(base, tmp_path / "donor"))
    for name in ("tokenizer.json", "vocab.txt"):
        (donor / name).unlink()
    assert "tokenizer.json" not in portable_files(opened(donor))
