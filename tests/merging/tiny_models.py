"""Tiny models with the tensors of a BERT, for any merging method."""

from __future__ import annotations

import numpy as np

from embedmerge.merging.in_memory import merge_arrays
from embedmerge.merging.registry import method

SHAPES = {
    "embeddings.word_embeddings.weight": (14, 8),
    "embeddings.LayerNorm.weight": (8,),
    "encoder.layer.0.attention.self.query.weight": (8, 8),
    "encoder.layer.0.attention.self.query.bias": (8,),
    "encoder.layer.0.intermediate.dense.weight": (20, 8),
    "encoder.layer.1.output.dense.weight": (8, 20),
    "encoder.layer.1.output.LayerNorm.bias": (8,),
    "pooler.dense.weight": (8, 8),
}
LINEARS = [name for name in SHAPES if len(SHAPES[name]) == 2 and "embeddings" not in name]
NAMES = ("base", "legal", "code", "bio", "finance")


def tiny_model(seed, base=None, scale=0.1):
    """Tensors drawn from a normal distribution, or a base moved by such tensors times the scale."""
    random = np.random.default_rng(seed)
    drawn = {name: random.standard_normal(shape) for name, shape in SHAPES.items()}
    if base is not None:
        drawn = {name: base[name] + scale * drawn[name] for name in SHAPES}
    return {name: tensor.astype(np.float32) for name, tensor in drawn.items()}


def tiny_sources(seed, experts, scale=0.1):
    """A base and some experts by name."""
    base = tiny_model([seed, 0])
    moved = {NAMES[row]: tiny_model([seed, row], base, scale) for row in range(1, experts + 1)}
    return {"base": base, **moved}


def allowed(name, experts):
    """The number of experts, or the nearest to it that the method takes."""
    fewest, most = method(name).experts
    return min(max(experts, fewest), most or len(NAMES))


def statistics_for(name, sources, seed=0):
    """Random statistics of the kind that a method needs: Gram matrices of inputs, or positive diagonals."""
    kind = method(name).statistics
    if kind is None:
        return None
    random = np.random.default_rng(seed)
    return {source: {key: _drawn(kind, random, shape) for key, shape in SHAPES.items()} for source in sources}


def merged(name, sources, weights=None, statistics=None, **given):
    """What a method makes of the sources; `held` and `parameters` are as `merge_arrays` takes them."""
    known = statistics_for(name, sources) if statistics is None else statistics
    return merge_arrays(name, sources, weights, statistics=known, **given)


def average(sources, weights, name):
    """The weighted average of one tensor in float64."""
    pairs = zip(weights, sources.values(), strict=True)
    return sum(weight * source[name].astype(np.float64) for weight, source in pairs)


def _drawn(kind, random, shape):
    if kind == "fisher":
        return random.gamma(1.0, size=shape).astype(np.float32)
    inputs = random.standard_normal((50, shape[-1]))
    return (inputs.T @ inputs).astype(np.float32)
