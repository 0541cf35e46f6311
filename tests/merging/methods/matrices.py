"""What the tests of the methods for matrices share: small experts, and the polar factor in full."""

from __future__ import annotations

import numpy as np

from embedmerge.merging.in_memory import merge_arrays

NAMES = ("base", "a", "b", "c", "d", "e")
SHAPES = [(6, 9), (9, 6), (7, 7)]
# Names and shapes of tensors that are no Linear's weight.
AVERAGED = [("embeddings.word_embeddings.weight", (6, 9)), ("encoder.layer.0.dense.bias", (9,))]


def merge(method, tensors, weights=None, name="w", **parameters):
    """The merged tensor, the first one being the base's."""
    sources = {source: {name: tensor} for source, tensor in zip(NAMES, tensors, strict=False)}
    return merge_arrays(method, sources, weights, parameters=parameters)[name]


def on_a_grid(random, *shape):
    """Numbers whose sums and products with each other float32 does not round."""
    return np.round(8 * random.standard_normal(shape)) / 8


def experts(shape, number, seed=0):
    """A base and experts of full rank."""
    random = np.random.default_rng(seed)
    base = on_a_grid(random, *shape)
    return [base, *(base + on_a_grid(random, *shape) for _ in range(number))]


def low_rank_experts(shape, number, rank, seed=3):
    """A base and experts whose task matrices are products, as LoRA's are."""
    random = np.random.default_rng(seed)
    base = on_a_grid(random, *shape)
    products = [on_a_grid(random, shape[0], rank) @ on_a_grid(random, rank, shape[1]) for _ in range(number)]
    return [base, *(base + product for product in products)]


def task_vectors(tensors):
    """Expert minus base."""
    return [tensor - tensors[0] for tensor in tensors[1:]]


def polar(matrix):
    """P Qᵀ of P Σ Qᵀ, null directions left out."""
    p, s, qt = np.linalg.svd(matrix, full_matrices=False)
    known = s > 1e-9 * s.max(initial=0)
    return p[:, known] @ qt[known]
