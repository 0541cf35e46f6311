"""What the tests of several methods share: small models, and steps of the papers on whole flat vectors."""

from __future__ import annotations

import math

import numpy as np

from embedmerge.merging.in_memory import merge_arrays

NAMES = ("base", "legal", "code", "news")
SHAPES = {
    "embeddings.word_embeddings.weight": (11, 6),
    "encoder.layer.0.attention.self.query.weight": (6, 6),
    "encoder.layer.1.output.dense.weight": (6, 9),
    "encoder.layer.1.output.dense.bias": (6,),
    "encoder.layer.1.output.LayerNorm.weight": (6,),
}
# Base first; one, two and three experts, alike and not, λ = 1 and other, and one that is subtracted.
WEIGHTS = (
    [0.0, 1.0],
    [0.3, 0.7],
    [0.0, 0.5, 0.5],
    [0.25, 0.5, 0.25],
    [0.0, 1 / 3, 1 / 3, 1 / 3],
    [-0.2, 0.5, 0.4, 0.3],
    [0.6, 0.5, -0.2, 0.1],
)
SLICES = (40, 1 << 22)  # elements held: a few to a slice, and whole tensors
# Shares that differ from expert to expert and from block to block, and what they come to: a row for each
# expert, a column for each tensor.
SHARES = {"expert legal": {"block 1": 0.1, "*": 0.6}, "expert news": [0.2, 0.9], "*": 0.35}
SHARES_OF_TENSORS = ((0.6, 0.6, 0.1, 0.1, 0.1), (0.35,) * 5, (0.2, 0.2, 0.9, 0.9, 0.9))


def models(seed=0):
    """A base and three experts, in float32, that have moved further in some tensors than in others."""
    random = np.random.default_rng(seed)
    base = {name: 0.3 * random.standard_normal(shape) for name, shape in SHAPES.items()}
    reach = dict(zip(SHAPES, (0.05, 0.3, 0.15, 0.2, 0.1), strict=True))
    common = {name: random.standard_normal(shape) for name, shape in SHAPES.items()}
    experts = [
        {
            name: base[name] + reach[name] * (0.5 * common[name] + random.standard_normal(shape))
            for name, shape in SHAPES.items()
        }
        for _ in range(3)
    ]
    return [{name: values.astype(np.float32) for name, values in model.items()} for model in (base, *experts)]


def merged(method, sources, weights=None, held=1 << 22, names=NAMES, **parameters):
    """The merged model as one flat vector."""
    named = dict(zip(names, sources, strict=False))
    found = merge_arrays(method, named, weights, parameters=parameters, held=held)
    return flat(found)


def merged_vectors(method, *vectors, weights=None, **parameters):
    """The same of vectors, from a base of zeros."""
    sources = [{"w": np.zeros(len(vectors[0]))}, *({"w": np.array(vector)} for vector in vectors)]
    return merged(method, sources, weights, **parameters)


def flat(model):
    return np.concatenate([np.asarray(values).ravel() for values in model.values()])


def tensors(vector):
    """The tensors of a flat vector."""
    ends = np.cumsum([math.prod(shape) for shape in SHAPES.values()])[:-1]
    return [part.reshape(shape) for part, shape in zip(np.split(vector, ends), SHAPES.values(), strict=True)]


def by_formula(sources, weights, formula, scope="model"):
    """`θ₀ + λ · formula(τ, p)`, of flat models or of each of their tensors.

    The formula is given float64 arrays: the task vectors (experts, elements), and the shares p.
    """
    if scope == "tensor":
        one_by_one = ([{name: model[name]} for model in sources] for name in sources[0])
        return np.concatenate([by_formula(tensor, weights, formula) for tensor in one_by_one])
    base, *experts = map(flat, sources)
    taus = np.stack([expert - base for expert in experts]).astype(float)
    scale = np.abs(weights[1:]).sum()
    return base + scale * formula(taus, np.array(weights[1:]) / scale)


def largest(tau, density):
    """A task vector, 0 but for the share of its largest elements, rounded up to whole ones."""
    count = math.ceil(round(density * tau.size, 9))
    threshold = np.sort(np.abs(tau))[::-1][count - 1] if count else math.inf
    return np.where(np.abs(tau) >= threshold, tau, 0)


def largest_by_tensor(taus, shares, scope):
    """Task vectors of flat models, each trimmed to shares that are its own.

    Args:
        taus: (experts, elements).
        shares: (experts, tensors).
        scope: Over what a share is taken: each tensor, or all tensors of the expert that have the same.
    """
    kept = np.zeros_like(taus)
    sizes = [math.prod(shape) for shape in SHAPES.values()]
    place = np.repeat(np.arange(len(sizes)), sizes)
    for row, own in enumerate(np.asarray(shares)):
        for number in set(own if scope == "model" else place):
            group = (own[place] if scope == "model" else place) == number
            kept[row, group] = largest(taus[row, group], own[place][group][0])
    return kept


def agreeing(taus, shares, agg="mean", emphasis=None):
    """TIES' second and third step: elect the sign of the weighted sum, merge what has it."""
    weights = (shares if agg == "mean" else len(shares) * shares)[:, None]
    votes = weights * taus
    elected = np.sign(votes.sum(axis=0))
    has_it = (np.sign(votes) == elected) & (elected != 0)
    counts = np.ones_like(weights) if emphasis is None else np.reshape(emphasis, (-1, 1))
    total = (counts * votes * has_it).sum(axis=0)
    if agg == "sum":
        return total
    divisor = (counts * np.abs(weights) * has_it).sum(axis=0)
    return np.divide(total, divisor, out=np.zeros_like(total), where=divisor > 0)
