from __future__ import annotations

import json

import pytest
from peft import AdaLoraConfig, IA3Config, LoHaConfig, LoraConfig, PrefixTuningConfig

from embedmerge.checkpoint.lora import LoraSettings, read_settings
from embedmerge.errors import EmbedmergeError

MODULE = "encoder.layer.11.attention.self.query"


@pytest.fixture
def written(tmp_path):
    """Writes a config as PEFT does, with some keys changed; returns its path."""

    def write(config=None, **changes):
        (config or LoraConfig(r=8, lora_alpha=16, target_modules=["query"])).save_pretrained(tmp_path)
        path = tmp_path / "adapter_config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
        return path

    return write


def refused(path):
    with pytest.raises(EmbedmergeError) as caught:
        read_settings(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert len(message.splitlines()) == 1
    return message


def test_what_peft_writes_is_read(written):
    config = LoraConfig(
        r=8,
        lora_alpha=16,
        use_rslora=True,
        rank_pattern={"query": 4},
        alpha_pattern={"key": 2},
        target_modules=["query", "key"],
        base_model_name_or_path="BAAI/bge-small-en-v1.5",
    )
    assert read_settings(written(config)) == LoraSettings(
        8, 16.0, True, {"query": 4}, {"key": 2.0}, False, "BAAI/bge-small-en-v1.5"
    )


def test_defaults(written):
    settings = read_settings(written())
    assert settings == LoraSettings(8, 16.0)
    assert (settings.rank_of(MODULE), settings.scale_of(MODULE)) == (8, 2.0)


def test_keys_that_old_versions_did_not_write_may_be_absent(tmp_path):
    path = tmp_path / "adapter_config.json"
    path.write_text('{"peft_type": "LORA", "r": 4, "lora_alpha": 2}')
    assert read_settings(path) == LoraSettings(4, 2.0)


@pytest.mark.parametrize(
    ("ranks", "alphas", "stabilised", "scale"),
    [
        ({}, {}, False, 2),
        ({}, {}, True, 16 / 8**0.5),
        ({"query": 4}, {}, False, 4),
        ({"query": 4}, {"query": 2}, True, 1),
        ({"layer.11.attention.self.query": 4}, {}, False, 4),
        ({r"layer\.1\d\..*": 4}, {}, False, 4),
        ({"^encoder.*query": 4}, {}, False, 4),
        ({"^layer.*query": 4}, {}, False, 2),
        ({"ery": 4}, {}, False, 2),
        ({"self": 4}, {}, False, 2),
        ({"key": 2, "query": 4, "self.query": 1}, {}, False, 4),
        ({}, {"query": 24}, False, 3),
    ],
)
def test_patterns_are_matched_as_peft_matches_them(ranks, alphas, stabilised, scale):
    settings = LoraSettings(8, 16, stabilised, ranks, alphas)
    assert settings.scale_of(MODULE) == pytest.approx(scale)


@pytest.mark.parametrize("kind", [LoHaConfig, IA3Config, PrefixTuningConfig, AdaLoraConfig])
def test_other_kinds_of_adapter_are_refused(written, kind):
    config = kind(total_step=10) if kind is AdaLoraConfig else kind()
    message = refused(written(config))
    assert f"peft_type {config.peft_type.value} is not plain LoRA" in message
    assert "merge_and_unload" in message


@pytest.mark.parametrize(
    "changes",
    [
        {"use_dora": True},
        {"use_qalora": True},
        {"use_something_new": True},
        {"lora_bias": True},
        {"target_parameters": ["experts.weight"]},
        {"layer_replication": [[0, 2], [1, 3]]},
        {"trainable_token_indices": [1, 2]},
        {"megatron_config": {"a": 1}},
        {"alora_invocation_tokens": [1]},
        {"init_lora_weights": "pissa_niter_4"},
        {"init_lora_weights": "olora"},
        {"peft_type": None},
        {"peft_type": ["LORA"]},
    ],
)
def test_what_is_not_plain_lora_is_refused(written, changes):
    (key,) = changes
    assert key in refused(written(**changes))
    assert "is not plain LoRA" in refused(written(**changes))


@pytest.mark.parametrize("start", [True, False, None, "gaussian", "eva", "orthogonal"])
def test_starts_that_leave_the_base_alone_are_plain(written, start):
    assert read_settings(written(init_lora_weights=start)).rank == 8


@pytest.mark.parametrize(
    "changes",
    [
        {"r": 0},
        {"r": -1},
        {"r": "8"},
        {"r": True},
        {"r": 8.5},
        {"r": None},
        {"lora_alpha": None},
        {"lora_alpha": "16"},
        {"lora_alpha": float("nan")},
        {"lora_alpha": float("inf")},
        {"lora_alpha": 10**400},
        {"rank_pattern": {"query": 0}},
        {"rank_pattern": ["query"]},
        {"rank_pattern": {"(": 4}},
        {"rank_pattern": 3},
        {"alpha_pattern": {"query": "a"}},
    ],
)
def test_malformed_settings_are_refused(written, changes):
    assert "is wanted" in refused(written(**changes))
