from __future__ import annotations

import numpy as np
import pytest
from disguise import HEADS, NAMES, SHAPES, SIZE, built, noisy, opened, saved, state_of

from embedmerge.checkpoint.reading import TensorReader
from embedmerge.diagnosis.factors import factor_pairs
from embedmerge.diagnosis.shared_weights import SharedWeights
from embedmerge.merging.anatomy import Site

BLOCK = 1
WHAT = {"query/key", "value/output", "feed-forward"}


def likeness(first, second):
    return 2 * (first * second).sum() / ((first**2).sum() + (second**2).sum())


def factors_of(family, state):
    """The two factors of every kind in one block, and what a head or a neuron sees of them together."""
    if family == "ModernBert":
        prefix = f"layers.{BLOCK}"
        value = np.split(state[f"{prefix}.attn.Wqkv.weight"], 3)[2]
        gate = np.split(state[f"{prefix}.mlp.Wi.weight"], 2)[1]
        output, down = state[f"{prefix}.attn.Wo.weight"], state[f"{prefix}.mlp.Wo.weight"]
        return {
            "value/output": (value, output, output @ value),
            "feed-forward": (gate, down, down @ gate),
        }
    names = NAMES[family]
    query, key, value, output, up, down = (
        state[f"{names.block.format(BLOCK)}.{name}.weight"]
        for name in (names.query, names.key, names.value, names.output, names.up, names.down)
    )
    shared = HEADS // (len(value) // SIZE)
    heads = [
        output[:, head * SIZE : (head + 1) * SIZE]
        @ value[head // shared * SIZE : (head // shared + 1) * SIZE]
        for head in range(HEADS)
    ]
    found = {"value/output": (value, output, sum(heads)), "feed-forward": (up, down, down @ up)}
    return found if family == "Qwen3" else {**found, "query/key": (query, key, query.T @ key)}


@pytest.mark.parametrize("family", SHAPES)
def test_likeness_of_factors_and_of_what_they_make_together(family, tmp_path):
    base = state_of(built(family, 0))
    expert = noisy(base, 0.5)
    wanted = factors_of(family, base), factors_of(family, expert)
    sources = opened(saved(family, base, tmp_path / "base"), saved(family, expert, tmp_path / "expert"))
    with TensorReader() as reader:
        weights = SharedWeights(sources, reader)
        pairs = {pair.factors.what: pair for pair in factor_pairs(weights.sites) if pair.inner.block == BLOCK}
        found = {what: pair.likenesses(weights, 1) for what, pair in pairs.items()}
    assert found.keys() == wanted[0].keys()
    for what, (factors, product) in found.items():
        mine, theirs = (side[what] for side in wanted)
        if (
            family != "Qwen3" or what != "value/output"
        ):  # there the outer factor is folded before it is compared
            assert factors == pytest.approx(max(map(likeness, mine[:2], theirs[:2])), rel=1e-4)
        assert product == pytest.approx(likeness(mine[2], theirs[2]), rel=1e-4)


@pytest.mark.parametrize("family", SHAPES)
def test_every_block_has_every_pair_that_the_architecture_lets_one_know(family):
    shapes = {name: value.shape for name, value in state_of(built(family, 0)).items()}
    pairs = list(factor_pairs(Site.of(name, shape, 3) for name, shape in shapes.items()))
    known = WHAT - ({"query/key"} if family in ("ModernBert", "Qwen3") else set())
    assert sorted((pair.inner.block, pair.factors.what) for pair in pairs) == sorted(
        (block, what) for block in range(3) for what in known
    )


def test_pairs_never_reach_over_two_blocks_nor_into_a_head():
    names = ["layers.0.mlp.up_proj.weight", "layers.1.mlp.down_proj.weight"]
    assert list(factor_pairs(Site.of(name, (4, 4), 2) for name in names)) == []
    names = ["layers.0.mlp.up_proj.weight", "layers.0.mlp.down_proj.weight"]
    assert len(list(factor_pairs(Site.of(name, (4, 4), 2) for name in names))) == 1
    assert list(factor_pairs(Site.of(name, (4, 4), 2, head=True) for name in names)) == []


def test_what_follows_the_neurons_is_named_beside_the_pair():
    names = [f"layers.0.mlp.{name}_proj.weight" for name in ("gate", "up", "down")]
    sites = [Site.of(name, (4, 4), 1) for name in names]
    (pair,) = factor_pairs(sites)
    assert (pair.inner, pair.outer, pair.beside) == (sites[1], sites[2], (sites[0],))
    assert set(pair.sites) == set(sites)


def test_names_that_nobody_knows_have_no_pairs():
    names = [
        "layers.0.mixer.a.weight",
        "layers.0.mixer.b.weight",
        "layers.0.attention.self.query_norm.weight",
    ]
    assert list(factor_pairs(Site.of(name, (4, 4), 1) for name in names)) == []
