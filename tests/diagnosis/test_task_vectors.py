from __future__ import annotations

import numpy as np
import pytest

from embedmerge.diagnosis.moments import Moments
from embedmerge.diagnosis.task_vectors import MatrixRank, by_block
from embedmerge.merging.anatomy import Site

SHAPES = {
    "embeddings.word_embeddings.weight": (7, 4),
    "encoder.layer.0.attention.self.query.weight": (4, 4),
    "encoder.layer.0.attention.self.query.bias": (4,),
    "encoder.layer.0.intermediate.dense.weight": (8, 4),
    "encoder.layer.1.attention.self.query.weight": (4, 4),
}
NAMES = ("legal", "finance", "code")


@pytest.fixture
def tensors():
    """Base and experts, name -> tensor; the last expert left the first block as it was."""
    random = np.random.default_rng(0)
    base = {name: random.standard_normal(shape).astype(np.float32) for name, shape in SHAPES.items()}
    moved = [
        {
            name: (value + 0.1 * random.standard_normal(value.shape)).astype(np.float32)
            for name, value in base.items()
        }
        for _ in NAMES
    ]
    moved[2] |= {name: value for name, value in base.items() if ".layer.0." in name}
    return [base, *moved]


def site(name):
    return Site.of(name, SHAPES[name], 2)


def measured(tensors, names, ranks):
    base, *experts = tensors
    moments = {
        site(name): Moments.of(base[name].ravel(), [expert[name].ravel() for expert in experts])
        for name in SHAPES
    }
    return {block.name: block for block in by_block(names, moments, ranks)}


def joined(tensors, part):
    return [
        np.concatenate([each[name].astype(np.float64).ravel() for name in SHAPES if part in name])
        for each in tensors
    ]


@pytest.mark.parametrize(
    ("block", "part"),
    [("embeddings", "embeddings."), ("block 0", ".layer.0."), ("block 1", ".layer.1."), ("model", "")],
)
def test_a_block_is_measured_as_one_long_vector(block, part, tensors):
    found = measured(tensors, NAMES, {})[block]
    base, *experts = joined(tensors, part)
    vectors = [np.float32(expert) - np.float32(base) for expert in experts]
    assert found.elements == base.size
    for expert, vector in zip(found.experts, vectors, strict=True):
        assert expert.relative_norm == pytest.approx(np.linalg.norm(vector) / np.linalg.norm(base), rel=1e-6)
        assert (expert.effective_rank, expert.rank_share) == (None, None)
    for pair in found.pairs:
        a, b = (vectors[NAMES.index(name)] for name in pair.experts)
        both = (a != 0) & (b != 0)
        if not both.any():
            assert (pair.cosine, pair.sign_agreement) == (None, None)
            continue
        cosine = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
        assert pair.cosine == pytest.approx(cosine, rel=1e-5)
        assert pair.sign_agreement == pytest.approx((np.sign(a) == np.sign(b))[both].mean())


def test_every_pair_is_there_once_and_in_order(tensors):
    found = measured(tensors, NAMES, {})["model"]
    assert [pair.experts for pair in found.pairs] == [
        ("legal", "finance"),
        ("legal", "code"),
        ("finance", "code"),
    ]
    assert measured(tensors[:2], NAMES[:1], {})["model"].pairs == ()


def test_all_agree_is_said_from_three_experts_on(tensors):
    vectors = np.sign([each - joined(tensors, "")[0] for each in joined(tensors, "")[1:]])
    moved = (vectors != 0).all(axis=0)
    wanted = ((vectors == vectors[0]).all(axis=0) & moved).sum() / moved.sum()
    assert measured(tensors, NAMES, {})["model"].all_agree == pytest.approx(wanted)
    assert measured(tensors[:3], NAMES[:2], {})["model"].all_agree is None


def test_ranks_are_means_over_the_linears_that_moved(tensors):
    query, dense = (
        site(f"encoder.layer.0.{name}.weight") for name in ("attention.self.query", "intermediate.dense")
    )
    ranks = {
        query: (MatrixRank(2.0, 4), MatrixRank(1.0, 4), MatrixRank(None, 4)),
        dense: (MatrixRank(3.0, 8), MatrixRank(None, 8), MatrixRank(None, 8)),
    }
    found = measured(tensors, NAMES, ranks)
    shown = [(expert.effective_rank, expert.rank_share) for expert in found["block 0"].experts]
    assert shown == [(2.5, (2 / 4 + 3 / 8) / 2), (1.0, 0.25), (None, None)]
    assert found["block 1"].experts[0].effective_rank is None
    assert found["model"].experts[0].effective_rank == 2.5


def test_the_model_comes_last_and_holds_every_element(tensors):
    found = list(measured(tensors, NAMES, {}).values())
    assert [block.name for block in found] == ["embeddings", "block 0", "block 1", "model"]
    assert found[-1].elements == sum(block.elements for block in found[:-1])
