"""Every kind of encoder that a merge must take or refuse, as transformers saves it."""

from __future__ import annotations

import json
import re

import pytest
import torch
import transformers
from transformers import AutoConfig, AutoModel

from embedmerge.api import merge
from embedmerge.errors import EmbedmergeError
from embedmerge.sources import SourceSpec

SHAPE = {
    "vocab_size": 61,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 24,
}
POSITIONS = {"max_position_embeddings": 34}
XLMR = {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
SHAPES = {
    "Bert": {**SHAPE, **POSITIONS},
    "Roberta": {**SHAPE, **POSITIONS, **XLMR},
    "XLMRoberta": {**SHAPE, **POSITIONS, **XLMR},
    "DistilBert": {
        "vocab_size": 61,
        "dim": 16,
        "n_layers": 2,
        "n_heads": 4,
        "hidden_dim": 24,
        "max_position_embeddings": 34,
    },
    "MPNet": {**SHAPE, **POSITIONS, **XLMR},
    "Electra": {**SHAPE, **POSITIONS, "embedding_size": 8},
    "DebertaV2": {**SHAPE, **POSITIONS, "relative_attention": True, "pos_att_type": ["p2c", "c2p"]},
    "ModernBert": {**SHAPE, "pad_token_id": 0, "global_attn_every_n_layers": 2},
    "NomicBert": {**SHAPE, **POSITIONS},
    "Qwen3": {**SHAPE, "num_key_value_heads": 2, "head_dim": 4},
    "Mistral": {**SHAPE, "num_key_value_heads": 2, "head_dim": 4},
}
LANGUAGE_MODELS = {
    "Bert": "BertForMaskedLM",
    "Roberta": "RobertaForMaskedLM",
    "XLMRoberta": "XLMRobertaForMaskedLM",
    "DistilBert": "DistilBertForMaskedLM",
    "MPNet": "MPNetForMaskedLM",
    "Electra": "ElectraForPreTraining",
    "DebertaV2": "DebertaV2ForMaskedLM",
    "ModernBert": "ModernBertForMaskedLM",
    "Qwen3": "Qwen3ForCausalLM",
    "Mistral": "MistralForCausalLM",
}


POOLER = {"pooler.dense.weight", "pooler.dense.bias"}
POOLED = ("Bert", "Roberta", "XLMRoberta", "MPNet")  # by AutoModel; masked language models are not


def built(family, seed, name=None, **changes):
    """A model of random weights; whatever is initialised to a constant is moved too."""
    torch.manual_seed(seed)
    config = getattr(transformers, f"{family}Config")(**SHAPES[family], **changes)
    model = getattr(transformers, name or f"{family}Model")(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return model


def saved(model, folder, **options):
    """The model with mean pooling stated as sentence-transformers states it."""
    model.save_pretrained(folder, **options)
    kinds = [("", "Transformer"), ("1_Pooling", "Pooling")]
    rows = [
        {"idx": row, "name": str(row), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for row, (path, kind) in enumerate(kinds)
    ]
    (folder / "modules.json").write_text(json.dumps(rows))
    (folder / "1_Pooling").mkdir()
    pooling = {"word_embedding_dimension": 16, "pooling_mode_mean_tokens": True}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    return folder


def merged(folder, base, expert, **options):
    specs = [SourceSpec("base", str(base), "base"), SourceSpec("expert", str(expert), "target")]
    return merge(specs, [0.5, 0.5], folder, **options)


def loaded(folder, without=frozenset()):
    """The encoder that AutoModel makes of a folder, having missed nothing but what the base has not."""
    model, info = AutoModel.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    assert info.pop("missing_keys") == without
    assert not any(info.values()), info
    return model


def assert_mean(model, one, another):
    """The model's weights are the mean of the two encoders'."""
    states = [each.state_dict() for each in (one, another)]
    found = model.state_dict()
    assert found.keys() - POOLER == states[0].keys() - POOLER
    for name in states[0]:
        value = found[name]
        mean = (states[0][name].float() + states[1][name].float()) / 2
        assert torch.allclose(value.float(), mean, rtol=0, atol=1e-6), name


@pytest.mark.parametrize("family", SHAPES)
def test_a_bare_encoder(family, tmp_path):
    one, another = built(family, 0), built(family, 1)
    base, expert = saved(one, tmp_path / "base"), saved(another, tmp_path / "expert")
    assert merged(tmp_path / "out", base, expert).warnings in ((), (NO_TOKENIZER,))
    assert_mean(loaded(tmp_path / "out"), one, another)
    assert_same_but_for_older_names(tmp_path / "out" / "config.json", base / "config.json")


def assert_same_but_for_older_names(found, donors):
    """The donor's bytes, or where it has rotary positions in the newest form, its values and older names."""
    own = json.loads(donors.read_text())
    if "rope_parameters" in own:
        assert own.items() < json.loads(found.read_text()).items()
    else:
        assert found.read_bytes() == donors.read_bytes()


NO_TOKENIZER = "expert: vocabulary not compared: base has no tokenizer.json or vocab.txt"


@pytest.mark.parametrize("family", LANGUAGE_MODELS)
def test_a_language_model_is_merged_as_the_encoder_below_its_head(family, tmp_path):
    one, another = (built(family, seed, LANGUAGE_MODELS[family]) for seed in (0, 1))
    base, expert = saved(one, tmp_path / "base"), saved(another, tmp_path / "expert")
    warnings = merged(tmp_path / "out", base, expert).warnings
    left_out = [text for text in warnings if "of a task head left out" in text]
    assert {text.partition(":")[0] for text in left_out} in ({"base", "expert"}, set())
    assert_mean(
        loaded(tmp_path / "out", POOLER if family in POOLED else set()), one.base_model, another.base_model
    )
    assert AutoConfig.from_pretrained(tmp_path / "out").architectures == [type(one.base_model).__name__]


@pytest.mark.parametrize("family", LANGUAGE_MODELS)
def test_a_language_model_and_a_bare_encoder_have_one_naming(family, tmp_path):
    one, another = built(family, 0), built(family, 1, LANGUAGE_MODELS[family])
    base, expert = saved(one, tmp_path / "base"), saved(another, tmp_path / "expert")
    merged(tmp_path / "out", base, expert)
    encoder = another.base_model.state_dict()
    model = loaded(tmp_path / "out")
    for name, value in one.state_dict().items():
        mean = (value + encoder[name]) / 2 if name in encoder else value  # masked-LM models have no pooler
        assert torch.allclose(model.state_dict()[name], mean, rtol=0, atol=1e-6), name


@pytest.mark.parametrize("family", ["Bert", "XLMRoberta", "MPNet"])
@pytest.mark.parametrize("without", ["base", "expert", "both"])
def test_a_pooler_that_one_side_lacks(family, without, tmp_path):
    sides = {"base": 0, "expert": 1}
    models = {}
    for side, seed in sides.items():
        models[side] = built(family, seed)
        if without in (side, "both"):
            models[side].pooler = None
        saved(models[side], tmp_path / side)
    merged(tmp_path / "out", tmp_path / "base", tmp_path / "expert")
    loaded(tmp_path / "out", POOLER if without in ("base", "both") else set())


@pytest.mark.parametrize("method", ["linear", "task_arithmetic"])
@pytest.mark.parametrize("sides", [("base",), ("expert",), ("base", "expert")])
def test_a_buffer_of_positions(method, sides, tmp_path):
    models = {"base": built("Bert", 0), "expert": built("Bert", 1)}
    for side, model in models.items():
        folder = saved(model, tmp_path / side)
        if side in sides:
            rewrite(folder, lambda state: state | {"embeddings.position_ids": torch.arange(34)[None]})
    merged(tmp_path / "out", tmp_path / "base", tmp_path / "expert", method=method)
    model = loaded(tmp_path / "out")
    if method == "linear":
        assert_mean(model, *models.values())


def rewrite(folder, edit, prefix=""):
    """Change what a folder's safetensors holds."""
    from safetensors.torch import load_file, save_file

    state = edit({prefix + name: value for name, value in load_file(folder / "model.safetensors").items()})
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize("prefix", ["bert.", "0.auto_model.", "auto_model.", "model.", "module.bert."])
@pytest.mark.parametrize("side", ["base", "expert"])
def test_a_prefix(prefix, side, tmp_path):
    models = {"base": built("Bert", 0), "expert": built("Bert", 1)}
    for name, model in models.items():
        saved(model, tmp_path / name)
    rewrite(tmp_path / side, dict, prefix)
    merged(tmp_path / "out", tmp_path / "base", tmp_path / "expert")
    assert_mean(loaded(tmp_path / "out"), *models.values())


def test_layer_norms_of_old(tmp_path):
    models = {"base": built("Bert", 0), "expert": built("Bert", 1)}
    for name, model in models.items():
        saved(model, tmp_path / name)

    def old(state):
        names = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
        return {re.sub("|".join(names), lambda match: names[match[0]], key): state[key] for key in state}

    rewrite(tmp_path / "base", old)
    merged(tmp_path / "out", tmp_path / "base", tmp_path / "expert")
    assert_mean(loaded(tmp_path / "out"), *models.values())


@pytest.mark.parametrize("family", ["Bert", "Qwen3", "Mistral"])
@pytest.mark.parametrize("stored", ["once", "twice", "under the head"])
def test_a_tied_matrix_stored_once_or_twice_or_under_its_heads_name(family, stored, tmp_path):
    """safetensors keeps one name of a shared tensor, `save_model` not always the embedding's."""
    models = [built(family, seed, LANGUAGE_MODELS[family], tie_word_embeddings=True) for seed in (0, 1)]
    head = "cls.predictions.decoder.weight" if family == "Bert" else "lm_head.weight"
    for name, model in zip(("base", "expert"), models, strict=True):
        model.tie_weights()
        folder = saved(model, tmp_path / name)
        embeddings = ("word_embeddings.weight", "embed_tokens.weight")
        embedding = next(key for key in model.state_dict() if key.endswith(embeddings))

        def edit(state, embedding=embedding):
            if stored != "once":
                state[head] = state[embedding].clone()
            if stored == "under the head":
                del state[embedding]
            return state

        rewrite(folder, edit)
    merged(tmp_path / "out", tmp_path / "base", tmp_path / "expert")
    without = POOLER if family == "Bert" else set()
    assert_mean(loaded(tmp_path / "out", without), *(model.base_model for model in models))


@pytest.mark.parametrize("dtypes", [("float32", "float16"), ("float16", "float32"), ("bfloat16", "float32")])
@pytest.mark.parametrize("torch_file", [False, True])
def test_another_type_on_either_side(dtypes, torch_file, tmp_path):
    models = [built("Bert", seed).to(getattr(torch, dtype)) for seed, dtype in enumerate(dtypes)]
    for name, model in zip(("base", "expert"), models, strict=True):
        folder = saved(model, tmp_path / name)
        if torch_file:
            as_torch_file(folder)
    merged(tmp_path / "out", tmp_path / "base", tmp_path / "expert", dtype="float32")
    assert_mean(loaded(tmp_path / "out"), *models)


def as_torch_file(folder, **options):
    """Save a folder's weights as they were saved before safetensors."""
    from safetensors.torch import load_file

    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin", **options)
    (folder / "model.safetensors").unlink()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_hidden_layers": 3}, "layers 3, base has 2"),
        ({"hidden_size": 32}, "hidden size 32, base has 16"),
        ({"num_attention_heads": 2}, "attention heads 2, base has 4"),
        ({"intermediate_size": 48}, "feed-forward size 48, base has 24"),
        ({"vocab_size": 62}, "vocabulary size 62, base has 61"),
        ({"max_position_embeddings": 66}, "positions 66, base has 34"),
        ({"type_vocab_size": 3}, "segments 3, base has 2"),
        ({"hidden_act": "relu"}, "activation relu, base has gelu"),
    ],
)
def test_another_shape_or_meaning_is_refused(change, message, tmp_path):
    base = saved(built("Bert", 0), tmp_path / "base")
    torch.manual_seed(1)
    other = transformers.BertModel(transformers.BertConfig(**{**SHAPES["Bert"], **change}))
    with pytest.raises(EmbedmergeError) as caught:
        merged(tmp_path / "out", base, saved(other, tmp_path / "expert"))
    assert str(caught.value).startswith(f"expert: {message}")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("pair", [("Bert", "Roberta"), ("Qwen3", "Mistral"), ("DistilBert", "Bert")])
def test_two_architectures_are_refused(pair, tmp_path):
    base, expert = (saved(built(family, 0), tmp_path / family) for family in pair)
    with pytest.raises(EmbedmergeError, match=r"^expert: architecture \w+, base has \w+"):
        merged(tmp_path / "out", base, expert)


@pytest.mark.parametrize("family", ["Qwen3", "Mistral"])
def test_another_rotary_base_is_refused(family, tmp_path):
    base, expert = saved(built(family, 0), tmp_path / "base"), saved(built(family, 1), tmp_path / "expert")
    config = json.loads((expert / "config.json").read_text())
    config["rope_parameters"]["rope_theta"] = 1e6
    (expert / "config.json").write_text(json.dumps(config))
    with pytest.raises(EmbedmergeError, match=r"^expert: rotary base 1000000.0, base has 10000.0"):
        merged(tmp_path / "out", base, expert)


def test_rotary_positions_that_are_said_to_reach_farther_are_a_warning(tmp_path):
    base, expert = saved(built("Qwen3", 0), tmp_path / "base"), saved(built("Qwen3", 1), tmp_path / "expert")
    config = json.loads((expert / "config.json").read_text())
    (expert / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 77}))
    warnings = merged(tmp_path / "out", base, expert).warnings
    assert "expert: positions 77; the merged model takes 32768 from base" in warnings


CODE = """
from pathlib import Path
Path({sentinel!r}).write_text("run")
from transformers import BertModel, BertConfig
class OwnConfig(BertConfig):
    model_type = "own"
class OwnModel(BertModel):
    config_class = OwnConfig
"""


def test_code_that_comes_with_a_model_is_copied_and_not_run(tmp_path, monkeypatch):
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    models = {"base": built("Bert", 0), "expert": built("Bert", 1)}
    sentinel = tmp_path / "sentinel"
    for name, model in models.items():
        folder = saved(model, tmp_path / name)
        config = json.loads((folder / "config.json").read_text())
        auto = {"AutoConfig": "modeling_own.OwnConfig", "AutoModel": "modeling_own.OwnModel"}
        changed = {**config, "model_type": "own", "architectures": ["OwnModel"], "auto_map": auto}
        (folder / "config.json").write_text(json.dumps(changed))
        (folder / "modeling_own.py").write_text(CODE.format(sentinel=str(sentinel)))
    warnings = merged(tmp_path / "out", tmp_path / "base", tmp_path / "expert").warnings
    assert not sentinel.exists()
    assert any("code of its own, which is copied and not run" in text for text in warnings)
    assert (tmp_path / "out" / "modeling_own.py").read_bytes() == (folder / "modeling_own.py").read_bytes()
    model, info = AutoModel.from_pretrained(
        tmp_path / "out", trust_remote_code=True, output_loading_info=True
    )
    assert sentinel.exists()  # the code would have been noticed
    assert not any(info.values()), info
    assert_mean(model, *models.values())


def test_code_that_is_missing_or_another_is_told(tmp_path):
    folders = [saved(built("Bert", seed), tmp_path / str(seed)) for seed in (0, 1)]
    for row, folder in enumerate(folders):
        config = json.loads((folder / "config.json").read_text())
        places = {"AutoModel": "modeling_own.OwnModel", "AutoConfig": "org/name--configuration.OwnConfig"}
        (folder / "config.json").write_text(json.dumps({**config, "auto_map": places}))
        (folder / "other.py").write_text(f"x = {row}")
    warnings = merged(tmp_path / "out", *folders).warnings
    assert any("base: its config.json names modeling_own.py, which is not there" in text for text in warnings)
    assert not any("configuration.py" in text for text in warnings)
    assert any(text.startswith("expert: other code other.py") for text in warnings)
