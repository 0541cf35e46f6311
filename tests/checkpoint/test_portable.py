from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from embedmerge.checkpoint.hub import Location
from embedmerge.checkpoint.layout import open_checkpoint
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
    for name in (
        "config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "config_sentence_transformers.json",
    ):
        assert (portable / name).read_bytes() == (native / name).read_bytes()


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
