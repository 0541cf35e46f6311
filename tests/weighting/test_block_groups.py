from __future__ import annotations

import pytest

from embedmerge.merging.anatomy import Site
from embedmerge.merging.settings import resolve
from embedmerge.weighting.block_groups import BlockGroups

BERT = [
    "embeddings.word_embeddings.weight",
    "embeddings.LayerNorm.bias",
    "encoder.layer.0.output.dense.weight",
    "encoder.layer.10.output.dense.weight",
    "pooler.dense.weight",
]
MODERNBERT = ["embeddings.tok_embeddings.weight", "layers.0.mlp.Wi.weight", "final_norm.weight"]
NOMIC = ["emb_ln.weight", "embeddings.word_embeddings.weight", "encoder.layers.1.mlp.fc11.weight"]
# The first part of one embedding's name is that of what lies behind the last block as well.
T5 = [
    "shared.weight",
    "encoder.embed_tokens.weight",
    "encoder.block.0.layer.0.SelfAttention.q.weight",
    "encoder.block.1.layer.0.SelfAttention.q.weight",
    "encoder.final_layer_norm.weight",
]


def groups_of(names: list[str], heads: tuple[str, ...] = ()) -> BlockGroups:
    blocks = 11
    inner = [Site.of(name, (4, 4), blocks) for name in names]
    return BlockGroups((*inner, *(Site.of(name, (4, 4), blocks, head=True) for name in heads)))


@pytest.mark.parametrize("names", [BERT, MODERNBERT, NOMIC, T5])
def test_every_tensor_resolves_to_the_number_of_its_group(names: list[str]) -> None:
    groups = groups_of(names, ("2_Dense/linear.weight", "2_Dense/linear.bias"))
    numbers = [round(0.1 + 0.01 * row, 4) for row in range(len(groups))]
    setting = groups.setting(numbers)
    for site in groups.sites:
        assert resolve(setting, site, -1.0) == numbers[groups.row(site)], site.name
    assert len(set(map(groups.row, groups.sites))) > 2


def test_embeddings_blocks_and_the_rest_are_told_apart() -> None:
    groups = groups_of(BERT, ("2_Dense/linear.weight",))
    assert len(groups) == 13
    assert [groups.row(site) for site in groups.sites] == [0, 0, 1, 11, 12, 12]


def test_a_pattern_stands_for_embeddings_where_it_fits_them_alone() -> None:
    assert "embeddings.*" in groups_of(BERT).setting([0.5] * 13)
    setting = groups_of(T5).setting([0.5] * 4)
    assert "encoder.*" not in setting
    assert {"shared.weight", "encoder.embed_tokens.weight"} < set(setting)


def test_a_model_without_blocks_has_embeddings_and_the_rest() -> None:
    groups = groups_of(["embeddings.word_embeddings.weight", "projection.weight"])
    assert groups.setting([0.2, 0.3]) == {"embeddings.*": 0.2, "*": 0.3}
