from __future__ import annotations

import pytest

from embedmerge.merging.anatomy import Site

SQUARE = (4, 4)


@pytest.mark.parametrize(
    ("name", "block"),
    [
        ("encoder.layer.3.output.dense.weight", 3),  # BERT, RoBERTa, XLM-R, ELECTRA, MPNet, DeBERTa
        ("transformer.layer.11.ffn.lin1.weight", 11),  # DistilBERT
        ("layers.10.mlp.Wi.weight", 10),  # ModernBERT, Qwen3, Mistral
        ("encoder.layers.0.attn.Wqkv.weight", 0),  # NomicBERT
        ("h.7.attn.c_attn.weight", 7),  # GPT-2
        ("embeddings.word_embeddings.weight", None),
        ("pooler.dense.weight", None),
        ("encoder.relative_attention_bias.weight", None),
        ("player.3.weight", None),
        ("encoder.layer.norm.weight", None),
    ],
)
def test_the_block_is_told_from_the_name(name, block):
    assert Site.of(name, SQUARE, 12).block == block


@pytest.mark.parametrize(
    ("name", "shape", "kind"),
    [
        ("encoder.layer.0.attention.self.query.weight", SQUARE, "linear"),
        ("pooler.dense.weight", SQUARE, "linear"),
        ("embeddings_project.weight", SQUARE, "linear"),
        ("embeddings.word_embeddings.weight", SQUARE, "embedding"),
        ("embeddings.position_embeddings.weight", SQUARE, "embedding"),
        ("embeddings.token_type_embeddings.weight", (1, 4), "embedding"),
        ("embed_tokens.weight", SQUARE, "embedding"),
        ("embeddings.tok_embeddings.weight", SQUARE, "embedding"),
        ("encoder.rel_embeddings.weight", SQUARE, "embedding"),
        ("encoder.relative_attention_bias.weight", SQUARE, "embedding"),
        ("wte.weight", SQUARE, "embedding"),
        ("embeddings.LayerNorm.weight", (4,), "vector"),
        ("encoder.layer.0.output.dense.bias", (4,), "vector"),
        ("temperature", (), "vector"),
        ("conv.weight", (4, 4, 3), "other"),
    ],
)
def test_the_kind_is_told_from_name_and_shape(name, shape, kind):
    assert Site.of(name, shape, 12).kind == kind


def test_a_module_behind_the_transformer_is_in_no_block_and_no_lookup_table():
    head = Site.of("layers.0.weight", SQUARE, 12, head=True)
    assert (head.block, head.kind, head.depth) == (None, "linear", 1.0)
    assert Site.of("embeddings.linear.weight", SQUARE, 12, head=True).kind == "linear"
    assert Site.of("embeddings.linear.weight", SQUARE, 12, head=True).depth == 1.0


@pytest.mark.parametrize(
    ("name", "depth"),
    [
        ("embeddings.word_embeddings.weight", 0),
        ("embeddings.LayerNorm.bias", 0),
        ("embeddings_project.weight", 0),
        ("emb_ln.weight", 0),
        ("embed_tokens.weight", 0),
        ("encoder.layer.0.output.dense.weight", 0),
        ("encoder.layer.1.output.dense.weight", 0.25),
        ("encoder.layer.4.output.dense.weight", 1),
        ("pooler.dense.weight", 1),
        ("final_norm.weight", 1),
    ],
)
def test_depth_rises_from_the_embeddings_to_behind_the_last_block(name, depth):
    assert Site.of(name, SQUARE, 5).depth == depth


def test_the_only_block_is_the_last():
    assert Site.of("encoder.layer.0.output.dense.weight", SQUARE, 1).depth == 1


@pytest.mark.parametrize(("shape", "elements"), [((), 1), ((3,), 3), ((2, 5), 10), ((0, 5), 0)])
def test_elements_are_counted(shape, elements):
    assert Site.of("w", shape).elements == elements
