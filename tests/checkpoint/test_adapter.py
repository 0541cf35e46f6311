"""Adapters that PEFT and sentence-transformers have written, against PEFT's own merge in memory."""

from __future__ import annotations

import json
import shutil
import tracemalloc
from dataclasses import replace
from pathlib import Path

import huggingface_hub.constants
import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.numpy import load_file, save_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.models import Dense
from transformers import (
    AutoModel,
    BertForSequenceClassification,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3Model,
)

from embedmerge.api import inspect, merge
from embedmerge.checkpoint.adapter import open_together
from embedmerge.checkpoint.hub import Location
from embedmerge.checkpoint.layout import open_checkpoint
from embedmerge.checkpoint.lineage import model_sha256, weights_sha256
from embedmerge.checkpoint.reading import LowRank, TensorReader
from embedmerge.checkpoint.tensors import widen
from embedmerge.checkpoint.weights import tensors_in
from embedmerge.errors import EmbedmergeError
from embedmerge.retrieval.settings import EncodingSettings
from embedmerge.sources import SourceSpec, open_sources, require_all_finite, source_encoder

ALL = ["query", "key", "value", "dense"]


def tune(model, folder, *, seed=0, scale=0.1, **settings):
    """Save an adapter with random factors; returns the expert it stands for, as PEFT merges it."""
    torch.manual_seed(seed)
    tuned = get_peft_model(model, LoraConfig(**settings))
    with torch.no_grad():
        for parameter in tuned.parameters():
            if parameter.requires_grad:
                parameter.add_(scale * torch.randn_like(parameter))
    tuned.save_pretrained(folder)
    merged = tuned.merge_and_unload().state_dict()
    return {name: value.float().numpy() for name, value in merged.items()}


def opened(base, folder):
    return open_together([(Location("base", base, None), "base"), (Location("legal", folder, None), "legal")])


def values(checkpoint):
    """Every floating tensor of the transformer."""
    with TensorReader() as reader:
        return {
            name: reader.read_float32(location).reshape(location.info.shape)
            for name, location in checkpoint.tensors[checkpoint.transformer.path].items()
            if location.info.is_floating
        }


def assert_equal(found, wanted):
    assert found
    for name, value in found.items():
        np.testing.assert_allclose(value, wanted[name], rtol=1e-6, atol=1e-6, err_msg=name)


def specs(base, *experts):
    return [
        SourceSpec("base", str(base), "base"),
        *(SourceSpec(f"expert{row}", str(path), "peer") for row, path in enumerate(experts)),
    ]


def edit_config(folder, **changes):
    path = folder / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def edit_weights(folder, change):
    path = folder / "adapter_model.safetensors"
    save_file(change(load_file(path)), path, metadata={"format": "pt"})


@pytest.fixture(scope="module")
def qwen(tmp_path_factory, base):
    """A decoder under the modules of the BERT base."""
    folder = tmp_path_factory.mktemp("qwen") / "base"
    shutil.copytree(base, folder, ignore=shutil.ignore_patterns("config.json", "model.safetensors"))
    shutil.copytree(base / "1_Pooling", folder / "1_Pooling", dirs_exist_ok=True)
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "head_dim": 8}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "tie_word_embeddings": True}
    words = json.loads((base / "config.json").read_text())["vocab_size"]
    Qwen3Model(Qwen3Config(vocab_size=words, **shape, **heads)).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def xlmr(make_checkpoint):
    return make_checkpoint("adapter-xlmr", arch="xlm-roberta")


@pytest.fixture(scope="module")
def adapter(tmp_path_factory, base):
    """A plain adapter of the base. Read only."""
    folder = tmp_path_factory.mktemp("adapters") / "legal"
    tune(AutoModel.from_pretrained(base), folder, r=4, target_modules=["query", "word_embeddings"])
    return folder


@pytest.fixture
def copy(tmp_path, adapter):
    return Path(shutil.copytree(adapter, tmp_path / "copy"))


@pytest.mark.parametrize(
    "settings",
    [
        {"r": 4, "target_modules": ALL},
        {"r": 4, "lora_alpha": 10, "use_rslora": True, "target_modules": ALL},
        {
            "r": 4,
            "rank_pattern": {"layer.0.attention.self.query": 2, "^encoder.layer.1.*dense": 3},
            "alpha_pattern": {"key": 1, r"layer\.\d.intermediate.dense": 5},
            "target_modules": ALL,
        },
        {"r": 2, "target_modules": ["query"], "bias": "lora_only"},
        {"r": 2, "target_modules": ["query"], "bias": "all"},
        {"r": 2, "target_modules": ["value"], "modules_to_save": ["pooler", "LayerNorm"], "bias": "all"},
        {"r": 3, "target_modules": ["query", "word_embeddings", "position_embeddings"]},
        {"r": 3, "target_modules": ["query"], "modules_to_save": ["word_embeddings"]},
    ],
    ids=[
        "plain",
        "rslora",
        "patterns",
        "bias-lora_only",
        "bias-all",
        "saved",
        "embeddings",
        "saved-embeddings",
    ],
)
def test_an_adapter_reads_as_pefts_own_merge(base, tmp_path, settings):
    wanted = tune(AutoModel.from_pretrained(base), tmp_path / "a", **settings)
    below, expert = opened(base, tmp_path / "a")
    found = values(expert)
    assert_equal(found, wanted)
    assert found.keys() == values(below).keys()


@pytest.mark.parametrize(
    "settings",
    [
        {"r": 4, "target_modules": "all-linear"},
        {"r": 3, "target_modules": ["q_proj", "embed_tokens"]},
        {"r": 3, "target_modules": ["q_proj", "down_proj"], "modules_to_save": ["embed_tokens", "norm"]},
    ],
    ids=["linear", "embeddings", "saved"],
)
def test_a_decoders_adapter_reads_as_pefts_own_merge(qwen, tmp_path, settings):
    wanted = tune(Qwen3Model.from_pretrained(qwen), tmp_path / "a", **settings)
    assert_equal(values(opened(qwen, tmp_path / "a")[1]), wanted)


def test_an_adapter_of_a_classifier_is_its_encoder(base, tmp_path):
    model = BertForSequenceClassification.from_pretrained(base)
    wanted = tune(model, tmp_path / "a", r=4, target_modules=["query"], task_type="SEQ_CLS")
    expert = opened(base, tmp_path / "a")[1]
    encoder = {name.removeprefix("bert."): value for name, value in wanted.items()}
    assert_equal(values(expert), encoder)
    assert expert.left_out == ("classifier.bias", "classifier.weight")


def test_an_adapter_of_a_language_model_is_its_encoder(qwen, tmp_path):
    settings = {"r": 4, "target_modules": ["q_proj", "lm_head"], "task_type": "CAUSAL_LM"}
    model = Qwen3ForCausalLM.from_pretrained(qwen, tie_word_embeddings=False)
    wanted = tune(model, tmp_path / "a", **settings)
    wanted = {name.removeprefix("model."): value for name, value in wanted.items()}
    expert = opened(qwen, tmp_path / "a")[1]
    assert_equal(values(expert), wanted)
    assert "lm_head.weight" in expert.left_out


@pytest.mark.parametrize("model", ["base", "xlmr", "qwen"])
def test_a_merge_of_adapters_is_the_mixture_of_the_merged_experts(request, tmp_path, model):
    base = request.getfixturevalue(model)
    targets = ["q_proj", "up_proj"] if model == "qwen" else ["query", "dense", "word_embeddings"]
    experts = [
        tune(
            AutoModel.from_pretrained(base),
            tmp_path / str(seed),
            seed=seed,
            r=3 + seed,
            target_modules=targets,
        )
        for seed in (1, 2)
    ]
    merged = merge(specs(base, tmp_path / "1", tmp_path / "2"), [0.2, 0.5, 0.3], tmp_path / "merged")
    base_values = values(open_checkpoint(Location("base", base, None)))
    found = values(open_checkpoint(Location("merged", merged.folder, None)))
    wanted = {
        name: 0.2 * value + 0.5 * experts[0][name] + 0.3 * experts[1][name]
        for name, value in base_values.items()
    }
    assert found.keys() == wanted.keys()
    assert_equal(found, wanted)


@pytest.mark.parametrize("step", [1, 7, 50, 333])
def test_a_slice_has_the_bits_of_the_whole(base, adapter, step):
    expert = opened(base, adapter)[1]
    updated = [location for location in expert.tensors[""].values() if location.update]
    assert {location.update.transposed for location in updated} == {True, False}
    with TensorReader() as reader:
        for location in updated:
            whole = reader.read_float32(location)
            for start in range(0, min(whole.size, 500 * step), step):
                part = reader.read_float32(location, start, min(start + step, whole.size))
                np.testing.assert_array_equal(part, whole[start : start + step])


def test_an_empty_slice_is_empty(base, adapter):
    location = opened(base, adapter)[1].tensors[""]["embeddings.word_embeddings.weight"]
    with TensorReader() as reader:
        assert reader.read_float32(location, 40, 40).size == 0


def test_the_stored_form_is_rounded_once_to_the_bases_type(base, tmp_path):
    half = tmp_path / "base"
    shutil.copytree(base, half)
    AutoModel.from_pretrained(base).to(torch.bfloat16).save_pretrained(half)
    model = AutoModel.from_pretrained(half, dtype=torch.float32)
    wanted = tune(model, tmp_path / "a", r=4, target_modules=["query"])
    below, expert = opened(half, tmp_path / "a")
    name = "encoder.layer.0.attention.self.query.weight"
    location = expert.tensors[""][name]
    assert expert.dtypes == below.dtypes == ("BF16",)
    with TensorReader() as reader:
        found = reader.read_float32(location)
        stored = reader.read(location, 5, 700)
    np.testing.assert_allclose(found, wanted[name].reshape(-1), rtol=1e-6, atol=1e-6)
    rounded = torch.from_numpy(found).to(torch.bfloat16).float().numpy()
    assert (rounded != found).any()
    np.testing.assert_array_equal(widen(stored, "BF16"), rounded[5:700])


def test_conv1d_weights_are_adapted_transposed(base, copy):
    random = np.random.default_rng(0)
    stem = "base_model.model.encoder.layer.0.intermediate.dense"
    a, b = random.standard_normal((2, 64)), random.standard_normal((32, 2))
    factors = {f"{stem}.lora_A.weight": a.astype("f4"), f"{stem}.lora_B.weight": b.astype("f4")}
    edit_weights(copy, lambda _: factors)
    edit_config(copy, fan_in_fan_out=True, r=2, lora_alpha=1)
    name = "encoder.layer.0.intermediate.dense.weight"
    below, expert = opened(base, copy)
    np.testing.assert_allclose(values(expert)[name], values(below)[name] + 0.5 * (b @ a).T, atol=1e-6)


def test_a_read_holds_the_slice_and_not_the_tensor(tmp_path):
    rows, columns, rank = 8192, 512, 8
    random = np.random.default_rng(0)
    tensors = {
        "w": random.standard_normal((rows, columns), dtype="f4"),
        "a": random.standard_normal((rank, columns), dtype="f4"),
        "b": random.standard_normal((rows, rank), dtype="f4"),
    }
    save_file(tensors, tmp_path / "x.safetensors")
    located = tensors_in(tmp_path / "x.safetensors", tmp_path)
    location = replace(located["w"], update=LowRank(located["a"], located["b"], 0.5))
    wanted = (tensors["w"] + 0.5 * tensors["b"].astype("f8") @ tensors["a"]).reshape(-1)
    step = 1 << 17
    with TensorReader() as reader:
        tracemalloc.start()
        try:
            errors = [
                np.abs(reader.read_float32(location, at, at + step) - wanted[at : at + step]).max()
                for at in range(0, rows * columns, step)
            ]
            _, sliced = tracemalloc.get_traced_memory()
            tracemalloc.reset_peak()
            reader.read_float32(location)
            _, whole = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert max(errors) < 1e-5
    assert sliced < 6 * step * 4
    assert whole < 2.5 * rows * columns * 4


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("base_model.model.", ""),
        ("base_model.model.", "base_model.model.bert."),
        ("base_model.model.", "base_model.model.0.auto_model."),
        ("base_model.model.", "base_model.model.auto_model.bert."),
        ("lora_A.weight", "lora_A.default.weight"),
        ("lora_B.weight", "lora_B.default.weight"),
        ("lora_embedding_B", "lora_embedding_B.default"),
    ],
)
def test_other_spellings_of_the_names_are_understood(base, adapter, copy, old, new):
    edit_weights(copy, lambda tensors: {name.replace(old, new): value for name, value in tensors.items()})
    assert load_file(copy / "adapter_model.safetensors").keys() != load_file(
        adapter / "adapter_model.safetensors"
    )
    assert_equal(values(opened(base, copy)[1]), values(opened(base, adapter)[1]))


def test_torch_files_are_read_too(base, adapter, copy):
    tensors = load_file(copy / "adapter_model.safetensors")
    torch.save({name: torch.from_numpy(value) for name, value in tensors.items()}, copy / "adapter_model.bin")
    (copy / "adapter_model.safetensors").unlink()
    assert_equal(values(opened(base, copy)[1]), values(opened(base, adapter)[1]))


def test_what_a_mapped_file_lends_is_not_added_to(base, adapter, tmp_path):
    mapped = Path(shutil.copytree(base, tmp_path / "base"))
    tensors = load_file(mapped / "model.safetensors")
    torch.save(
        {name: torch.from_numpy(value) for name, value in tensors.items()}, mapped / "pytorch_model.bin"
    )
    (mapped / "model.safetensors").unlink()
    location = opened(mapped, adapter)[1].tensors[""]["embeddings.word_embeddings.weight"]
    with TensorReader() as reader:
        first, second = (reader.read_float32(location).copy() for _ in range(2))
    np.testing.assert_array_equal(first, second)


def embedded(source):
    return source_encoder(source, EncodingSettings(device="cpu"), None).embed(TEXTS)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("EMBEDMERGE_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def st_adapter(tmp_path_factory, base):
    """What sentence-transformers saves of a model with an adapter, and its embeddings of TEXTS."""
    model = SentenceTransformer(str(base), device="cpu")
    model.add_adapter(LoraConfig(r=4, target_modules=["query", "value"]))
    torch.manual_seed(4)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.3 * torch.randn_like(parameter))
    folder = tmp_path_factory.mktemp("adapters") / "st"
    model.prompts = {"query": "find: "}
    model.save_pretrained(str(folder))
    return folder, model.encode(TEXTS)


TEXTS = ["merge two models", "a bank loan", "what is the query"]


def test_a_sentence_transformers_adapter_brings_its_own_modules(base, st_adapter):
    folder, _ = st_adapter
    below, expert = opened(base, folder)
    assert expert.folder == folder
    assert [module.kind for module in expert.modules] == ["Transformer", "Pooling", "Normalize"]
    assert expert.prompts == {"query": "find: "}
    assert (expert.pooling, expert.config, expert.max_seq_length) == ("mean", below.config, 48)
    assert folder / "adapter_config.json" not in expert.module_files()


def test_a_sentence_transformers_adapter_embeds_as_there(base, st_adapter):
    folder, wanted = st_adapter
    (_, expert), warnings = open_sources(specs(base, folder))
    assert [finding.text.split()[0] for finding in warnings] == ["prompts"]
    np.testing.assert_allclose(embedded(expert), wanted, atol=1e-6)


def test_a_sentence_transformers_adapter_brings_its_own_dense_head(base, tmp_path):
    stack = SentenceTransformer(str(base), device="cpu")
    stack = SentenceTransformer(modules=[*list(stack)[:2], Dense(32, 16)], device="cpu")
    stack.save_pretrained(str(tmp_path / "base"))
    stack.add_adapter(LoraConfig(r=4, target_modules=["query"], init_lora_weights=False))
    with torch.no_grad():
        stack[2].linear.weight.add_(0.5)
    stack.save_pretrained(str(tmp_path / "a"))
    (_, expert), _ = open_sources(specs(tmp_path / "base", tmp_path / "a"))
    np.testing.assert_allclose(embedded(expert), stack.encode(TEXTS), atol=1e-6)
    assert "2_Dense/model.safetensors" in expert.checkpoint.weight_places()


def test_a_merge_with_a_sentence_transformers_adapter(base, st_adapter, tmp_path):
    folder, wanted = st_adapter
    merged = merge(specs(base, folder), [0.0, 1.0], tmp_path / "merged")
    found = SentenceTransformer(str(merged.folder), device="cpu")
    np.testing.assert_allclose(found.encode(TEXTS), wanted, atol=1e-6)
    assert not (merged.folder / "adapter_config.json").exists()


@pytest.mark.parametrize("model", ["base", "xlmr", "qwen"])
def test_a_plain_adapter_embeds_as_pefts_own_merge(request, tmp_path, model):
    base = request.getfixturevalue(model)
    expert = SentenceTransformer(str(base), device="cpu")
    targets = ["q_proj", "up_proj"] if model == "qwen" else ["query", "dense"]
    wanted = tune(AutoModel.from_pretrained(base), tmp_path / "a", r=4, target_modules=targets)
    untuned = expert.encode(TEXTS)
    expert[0].auto_model.load_state_dict({name: torch.from_numpy(value) for name, value in wanted.items()})
    (_, adapted), _ = open_sources(specs(base, tmp_path / "a"))
    found = embedded(adapted)
    np.testing.assert_allclose(found, expert.encode(TEXTS), atol=1e-5)
    assert np.abs(found - untuned).max() > 0.01


def test_a_plain_adapter_has_its_bases_modules(base, adapter):
    below, expert = opened(base, adapter)
    assert (expert.modules, expert.folder, expert.module_files()) == (
        below.modules,
        base,
        below.module_files(),
    )


def test_an_adapters_digests_cover_it_and_its_base(base, adapter, copy, make_expert):
    below, expert = opened(base, adapter)
    assert expert.digests.keys() == {
        "adapter_config.json",
        "adapter_model.safetensors",
        *(f"base/{place}" for place in below.digests),
    }
    assert expert.weight_files() == (
        base / "model.safetensors",
        adapter / "adapter_config.json",
        adapter / "adapter_model.safetensors",
    )
    moved = opened(base, copy)[1]
    assert weights_sha256(moved) == weights_sha256(expert) != weights_sha256(below)
    assert model_sha256(moved) == model_sha256(expert) != model_sha256(below)
    elsewhere = opened(make_expert("adapter-base", base=base), adapter)[1]
    assert weights_sha256(elsewhere) != weights_sha256(expert)
    edit_config(copy, lora_alpha=1)
    assert weights_sha256(opened(base, copy)[1]) != weights_sha256(expert)


def test_a_sentence_transformers_adapters_digests_cover_its_modules(base, st_adapter, tmp_path):
    folder, _ = st_adapter
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    (copy / "1_Pooling" / "config.json").write_text((folder / "1_Pooling" / "config.json").read_text() + "\n")
    original, changed = opened(base, folder)[1], opened(base, copy)[1]
    assert weights_sha256(changed) == weights_sha256(original)
    assert model_sha256(changed) != model_sha256(original)


def test_the_licence_is_the_adapters(base, copy):
    (copy / "README.md").write_text("---\nlicense: mit\n---\n")
    assert opened(base, copy)[1].license == "mit"


def test_the_gate_is_silent_about_a_good_adapter(base, adapter):
    _, warnings = open_sources(specs(base, adapter))
    assert warnings == ()


def test_another_base_by_name_is_a_warning(base, copy):
    edit_config(copy, base_model_name_or_path="BAAI/bge-small-en-v1.5@main")
    _, warnings = open_sources(specs(base, copy))
    assert [finding.level for finding in warnings] == ["warning"]
    assert "trained on BAAI/bge-small-en-v1.5@main" in warnings[0].text


@pytest.mark.parametrize("stated", [None, "/elsewhere/base", "org/base@v1", "C:\\models\\base"])
def test_a_base_of_the_same_name_or_none_is_no_warning(base, copy, stated):
    edit_config(copy, base_model_name_or_path=stated)
    assert open_sources(specs(base, copy))[1] == ()


def test_an_adapter_alone_or_as_the_base_is_refused(base, adapter):
    for refuse in (
        lambda: open_sources(specs(adapter, base)),
        lambda: inspect([str(adapter)]),
        lambda: open_checkpoint(Location("legal", adapter, None)),
    ):
        with pytest.raises(EmbedmergeError, match="an adapter, which is no model without its base"):
            refuse()


def test_inspect_opens_an_adapter_on_the_first_source(base, adapter):
    inspection = inspect([str(base), str(adapter)])
    assert inspection.mergeable
    assert inspection.sources[1]["layout"] == "LoRA adapter"
    assert inspection.sources[1]["parameters"] == inspection.sources[0]["parameters"]


def test_nan_in_a_factor_is_found_and_named(base, copy):
    def spoil(tensors):
        tensors["base_model.model.encoder.layer.1.attention.self.query.lora_A.weight"][1, 3] = np.nan
        return tensors

    edit_weights(copy, spoil)
    sources, _ = open_sources(specs(base, copy))
    with pytest.raises(EmbedmergeError, match=r"^expert0: tensor 'encoder\.layer\.1\.attention\.self\.query"):
        require_all_finite(sources)


def without(part):
    return lambda folder: edit_weights(
        folder, lambda tensors: {name: value for name, value in tensors.items() if part not in name}
    )


def renamed(old, new):
    return lambda folder: edit_weights(
        folder, lambda tensors: {name.replace(old, new): value for name, value in tensors.items()}
    )


def changed(part, change):
    return lambda folder: edit_weights(
        folder,
        lambda tensors: {name: change(value) if part in name else value for name, value in tensors.items()},
    )


def added(name, shape, dtype="f4"):
    return lambda folder: edit_weights(folder, lambda tensors: {**tensors, name: np.ones(shape, dtype)})


def configured(**changes):
    return lambda folder: edit_config(folder, **changes)


DAMAGES = {
    "no weights": (
        lambda folder: (folder / "adapter_model.safetensors").unlink(),
        "no adapter_model.safetensors",
    ),
    "truncated": (
        lambda folder: (folder / "adapter_model.safetensors").write_bytes(b"\1" * 40),
        "damaged safetensors",
    ),
    "pickle": (
        lambda folder: (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin"),
        r"adapter_model\.bin: ",
    ),
    "a model beside it": (
        lambda folder: (folder / "model.safetensors").write_bytes(b""),
        "holds an adapter and model.safetensors",
    ),
    "no json": (lambda folder: (folder / "adapter_config.json").write_text("{"), "not valid JSON"),
    "a list": (lambda folder: (folder / "adapter_config.json").write_text("[]"), "a JSON object is wanted"),
    "one factor gone": (without("layer.0.attention.self.query.lora_A"), "not one A and one B"),
    "all gone": (without(""), "adapts no tensor of an encoder"),
    "another architecture": (
        renamed("query", "q_proj"),
        r"adapts 'encoder\.layer\.0\.attention\.self\.q_proj",
    ),
    "unknown kind": (renamed("lora_A", "hada_w1_a"), "hada_w1_a"),
    "wrong inputs": (
        changed("query.lora_A", lambda a: a[:, 1:]),
        r"F32 \[4, 31\], where rank 4 .* \[4, 32\]",
    ),
    "wrong outputs": (changed("query.lora_B", lambda b: b[1:]), r"F32 \[31, 4\], where rank 4 .* \[32, 4\]"),
    "wrong rows": (changed("lora_embedding_A", lambda a: a[:, 1:].copy()), "where rank 4"),
    "three dimensions": (changed("query.lora_A", lambda a: a[None]), r"\[1, 4, 32\]"),
    "integers": (changed("query.lora_A", lambda a: a.astype("i4")), r"I32 \[4, 32\]"),
    "another rank": (configured(r=8), "where rank 8"),
    "a rank beyond all numbers": (configured(r=10**400, use_rslora=True), "where rank 10000"),
    "another rank for one": (configured(rank_pattern={"layer.1.*query": 2}), "where rank 2"),
    "a vector adapted": (
        renamed("attention.self.query", "attention.output.LayerNorm"),
        r"adapts a tensor that is F32 \[32\]",
    ),
    "saved in another shape": (
        added("base_model.model.pooler.dense.weight", (3, 32)),
        r"F32 \[3, 32\], in base it is F32 \[32, 32\]",
    ),
    "saved in another type": (added("base_model.model.pooler.dense.bias", 32, "i8"), r"I64 \[32\], in base"),
    "resized vocabulary": (
        added("base_model.model.embeddings.word_embeddings.base_layer.weight", (200, 32)),
        r"F32 \[200, 32\], in base",
    ),
}


@pytest.mark.parametrize(("damage", "message"), DAMAGES.values(), ids=DAMAGES)
def test_what_is_damaged_or_does_not_fit_is_refused_in_one_line(base, copy, damage, message):
    damage(copy)
    with pytest.raises(EmbedmergeError, match=message) as caught:
        open_sources(specs(base, copy))
    assert str(copy) in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_a_link_out_of_the_folder_is_refused(base, copy, adapter):
    (copy / "adapter_model.safetensors").unlink()
    (copy / "adapter_model.safetensors").symlink_to(adapter / "adapter_model.safetensors")
    with pytest.raises(EmbedmergeError, match="outside the model folder"):
        opened(base, copy)


def test_dora_as_peft_saves_it_is_refused(base, tmp_path):
    tune(AutoModel.from_pretrained(base), tmp_path / "a", r=2, target_modules=["query"], use_dora=True)
    with pytest.raises(EmbedmergeError, match="use_dora is not plain LoRA"):
        opened(base, tmp_path / "a")


def test_tensor_infos_keep_the_bases_names(base, adapter):
    expert = opened(base, adapter)[1]
    for name, location in expert.tensors[""].items():
        assert location.info.name == name


def test_an_adapter_may_be_a_hub_id(base, adapter, tmp_path, monkeypatch):
    repository, commit = tmp_path / "hub" / "models--org--legal", "1" * 40
    for folder in ("blobs", "refs", f"snapshots/{commit}"):
        (repository / folder).mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    for file in adapter.iterdir():
        blob = Path(shutil.copy(file, repository / "blobs" / f"blob-of-{file.stem}"))
        (repository / "snapshots" / commit / file.name).symlink_to(blob)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    (_, expert), _ = open_sources(specs(base, "org/legal"))
    assert expert.checkpoint.location.revision == commit
    assert expert.weights_sha256 == weights_sha256(opened(base, adapter)[1])
    assert_equal(values(expert.checkpoint), values(opened(base, adapter)[1]))
