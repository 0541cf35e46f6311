from __future__ import annotations

import pytest

from embedmerge.diagnosis.blocks import block_name, in_words, sites_by_block
from embedmerge.merging.anatomy import Site

PLACES = {
    "embeddings.word_embeddings.weight": "embeddings",
    "embeddings.LayerNorm.weight": "embeddings",
    "embed_tokens.weight": "embeddings",
    "embeddings_project.weight": "embeddings",
    "emb_ln.weight": "embeddings",
    "encoder.relative_attention_bias.weight": "embeddings",
    "encoder.rel_embeddings.weight": "embeddings",
    "encoder.layer.0.attention.self.query.weight": "block 0",
    "transformer.layer.5.ffn.lin1.bias": "block 5",
    "layers.11.mlp.Wo.weight": "block 11",
    "norm.weight": "head",
    "final_norm.weight": "head",
}


@pytest.mark.parametrize(("name", "block"), PLACES.items())
def test_a_tensors_name_tells_its_block(name, block):
    shape = (4, 4) if name.endswith("weight") and "orm" not in name and "_ln" not in name else (4,)
    assert block_name(Site.of(name, shape, 12)) == block


def test_a_module_behind_the_transformer_is_head():
    assert block_name(Site.of("2_Dense/linear.weight", (4, 4), 12, head=True)) == "head"
    assert block_name(Site.of("2_Dense/layers.3.embeddings.weight", (4, 4), 12, head=True)) == "head"


def test_blocks_stand_in_the_order_of_the_model_and_hold_all_their_tensors():
    names = [
        "norm.weight",
        "layers.10.a.weight",
        "layers.2.a.weight",
        "embed_tokens.weight",
        "layers.2.b.bias",
    ]
    sites = [Site.of(name, (2,), 12) for name in names]
    found = sites_by_block(sites)
    assert list(found) == ["embeddings", "block 2", "block 10", "head"]
    assert [site.name for site in found["block 2"]] == ["layers.2.a.weight", "layers.2.b.bias"]
    assert sum(map(len, found.values())) == len(names)


@pytest.mark.parametrize(
    ("blocks", "words"),
    [
        (["block 3"], "block 3"),
        (["head", "embeddings"], "embeddings, head"),
        (["block 10", "block 9", "block 8"], "blocks 8-10"),
        (["block 0", "block 2", "head", "block 1", "block 5"], "blocks 0-2, 5, head"),
        (["block 1", "block 1"], "block 1"),
        ([], ""),
    ],
)
def test_runs_of_blocks_are_drawn_together(blocks, words):
    assert in_words(blocks) == words
