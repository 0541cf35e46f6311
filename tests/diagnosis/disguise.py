"""Tiny models of several architectures, and the tricks that leave what they compute as it is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import transformers

from embedmerge.checkpoint.adapter import open_together
from embedmerge.checkpoint.hub import Location

SHAPE = {
    "vocab_size": 61,
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 24,
    "pad_token_id": 0,
}
POSITIONS = {"max_position_embeddings": 34}
SHAPES = {
    "Bert": {**SHAPE, **POSITIONS},
    "XLMRoberta": {**SHAPE, **POSITIONS},
    "DistilBert": {
        "vocab_size": 61,
        "dim": 16,
        "n_layers": 3,
        "n_heads": 4,
        "hidden_dim": 24,
        "pad_token_id": 0,
        **POSITIONS,
    },
    "MPNet": {**SHAPE, **POSITIONS},
    "ModernBert": {
        **SHAPE,
        **dict.fromkeys(("bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id"), 1),
    },
    "Qwen3": {**SHAPE, "num_key_value_heads": 2, "head_dim": 4},
}
LAYERS, HEADS, SIZE = 3, 4, 4


@dataclass(frozen=True)
class Names:
    """What an architecture calls the Linears of a block; `beside` follows the neurons' order too."""

    block: str
    query: str
    key: str
    value: str
    output: str
    up: str
    down: str
    beside: str = ""


BERT = Names(
    "encoder.layer.{}",
    *(f"attention.self.{name}" for name in ("query", "key", "value")),
    "attention.output.dense",
    "intermediate.dense",
    "output.dense",
)
NAMES = {
    "Bert": BERT,
    "XLMRoberta": BERT,
    "DistilBert": Names(
        "transformer.layer.{}",
        *(f"attention.{name}_lin" for name in ("q", "k", "v", "out")),
        "ffn.lin1",
        "ffn.lin2",
    ),
    "MPNet": Names(
        "encoder.layer.{}",
        *(f"attention.attn.{name}" for name in "qkvo"),
        "intermediate.dense",
        "output.dense",
    ),
    "Qwen3": Names(
        "layers.{}",
        *(f"self_attn.{name}_proj" for name in "qkvo"),
        "mlp.up_proj",
        "mlp.down_proj",
        "mlp.gate_proj",
    ),
}


def built(family, seed):
    """A model of random weights, those too that begin as constants."""
    torch.manual_seed(seed)
    config = getattr(transformers, f"{family}Config")(**SHAPES[family])
    model = getattr(transformers, f"{family}Model")(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def state_of(model):
    return {name: value.double().numpy() for name, value in model.state_dict().items()}


def embeddings(family, state):
    """Token vectors of a fixed batch under these weights."""
    model = built(family, 0)
    model.load_state_dict({name: torch.from_numpy(value).float() for name, value in state.items()})
    ids = torch.arange(2, 34).reshape(2, 16)
    with torch.no_grad():
        return model(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state.numpy()


def noisy(state, ratio, seed=3):
    """Every tensor with noise whose norm is `ratio` times its own."""
    random = np.random.default_rng(seed)

    def moved(value):
        drawn = random.standard_normal(value.shape)
        return value + drawn * (ratio * np.linalg.norm(value) / np.linalg.norm(drawn))

    return {name: moved(value) if value.ndim else value for name, value in state.items()}


def invertible(random, heads):
    """A matrix of one invertible block per head, far from orthogonal, and its inverse."""
    matrix = np.zeros((heads * SIZE, heads * SIZE))
    for at in range(heads):
        left, right = (np.linalg.qr(random.standard_normal((SIZE, SIZE)))[0] for _ in range(2))
        own = slice(at * SIZE, (at + 1) * SIZE)
        matrix[own, own] = left @ np.diag(random.uniform(0.5, 2, SIZE)) @ right
    return matrix, np.linalg.inv(matrix)


def query_key_locked(family, state, layers=range(LAYERS), seed=5):
    """M before the query, its inverse transposed before the key."""
    names, random, out = NAMES[family], np.random.default_rng(seed), dict(state)
    for layer in layers:
        matrix, inverse = invertible(random, HEADS)
        for linear, factor in ((names.query, matrix), (names.key, inverse.T)):
            for kind in ("weight", "bias"):
                name = f"{names.block.format(layer)}.{linear}.{kind}"
                out[name] = factor @ out[name]
    return out


def value_output_locked(family, state, layers=range(LAYERS), seed=6):
    """M behind the value, its inverse before the output; heads that share a value share M."""
    if family == "ModernBert":
        return _fused_value_locked(state, layers, seed)
    names, random, out = NAMES[family], np.random.default_rng(seed), dict(state)
    for layer in layers:
        value, output = (f"{names.block.format(layer)}.{name}" for name in (names.value, names.output))
        heads = len(out[f"{value}.weight"]) // SIZE
        matrix, inverse = invertible(random, heads)
        for name in (f"{value}.weight", f"{value}.bias"):
            if name in out:
                out[name] = matrix @ out[name]
        blocks = [inverse[at * SIZE : (at + 1) * SIZE, at * SIZE : (at + 1) * SIZE] for at in range(heads)]
        columns = np.split(out[f"{output}.weight"], HEADS, axis=1)
        shared = HEADS // heads
        out[f"{output}.weight"] = np.hstack([part @ blocks[at // shared] for at, part in enumerate(columns)])
    return out


def _fused_value_locked(state, layers, seed):
    random, out = np.random.default_rng(seed), dict(state)
    for layer in layers:
        matrix, inverse = invertible(random, HEADS)
        query, key, value = np.split(out[f"layers.{layer}.attn.Wqkv.weight"], 3)
        out[f"layers.{layer}.attn.Wqkv.weight"] = np.vstack([query, key, matrix @ value])
        out[f"layers.{layer}.attn.Wo.weight"] = out[f"layers.{layer}.attn.Wo.weight"] @ inverse
    return out


def neurons_permuted(family, state, layers=range(LAYERS), seed=7):
    """The neurons of the feed-forward layers in another order."""
    random, out = np.random.default_rng(seed), dict(state)
    for layer in layers:
        order = random.permutation(24)
        if family == "ModernBert":
            prefix = f"layers.{layer}.mlp"
            halves = np.split(out[f"{prefix}.Wi.weight"], 2)
            out[f"{prefix}.Wi.weight"] = np.vstack([half[order] for half in halves])
            out[f"{prefix}.Wo.weight"] = out[f"{prefix}.Wo.weight"][:, order]
            continue
        names = NAMES[family]
        prefix = names.block.format(layer)
        for linear in filter(None, (names.up, names.beside)):
            for name in (f"{prefix}.{linear}.weight", f"{prefix}.{linear}.bias"):
                if name in out:
                    out[name] = out[name][order]
        out[f"{prefix}.{names.down}.weight"] = out[f"{prefix}.{names.down}.weight"][:, order]
    return out


def neurons_scaled(family, state, seed=8):
    """The side of a gated feed-forward layer that no activation follows, against what it goes into."""
    random, out = np.random.default_rng(seed), dict(state)
    for layer in range(LAYERS):
        scale = np.exp(random.uniform(-2, 2, 24))
        if family == "ModernBert":
            inner, outer = f"layers.{layer}.mlp.Wi.weight", f"layers.{layer}.mlp.Wo.weight"
            activated, linear = np.split(out[inner], 2)
            out[inner] = np.vstack([activated, scale[:, None] * linear])
        else:
            prefix = NAMES[family].block.format(layer)
            inner, outer = (f"{prefix}.{name}.weight" for name in (NAMES[family].up, NAMES[family].down))
            out[inner] = scale[:, None] * out[inner]
        out[outer] = out[outer] / scale
    return out


def saved(family, state, folder):
    """A plain transformers folder with these weights."""
    model = built(family, 0)
    model.load_state_dict({name: torch.from_numpy(value).float() for name, value in state.items()})
    model.save_pretrained(folder)
    return folder


def opened(*folders):
    """Opened sources, base first, each called as its folder is."""
    return open_together((Location(folder.name, folder, None), folder.name) for folder in folders)
