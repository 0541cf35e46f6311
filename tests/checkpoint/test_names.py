from __future__ import annotations

import pytest

from embedmerge.checkpoint.names import canonical_naming

WORDS = "embeddings.word_embeddings.weight"
QUERY = "encoder.layer.0.attention.self.query.weight"


@pytest.mark.parametrize(
    "prefix",
    ["", "bert.", "roberta.", "mpnet.", "deberta.", "model.", "0.auto_model.", "module.0.auto_model.bert."],
)
def test_prefixes_are_taken_off(prefix):
    naming = canonical_naming([prefix + WORDS, prefix + QUERY])
    assert naming.canonical == {prefix + WORDS: WORDS, prefix + QUERY: QUERY}
    assert naming.left_out == ()


@pytest.mark.parametrize(
    "head", ["cls.predictions.bias", "classifier.weight", "qa_outputs.bias", "lm_head.bias"]
)
@pytest.mark.parametrize("prefix", ["", "bert."])
def test_task_heads_are_left_out(head, prefix):
    naming = canonical_naming([prefix + WORDS, prefix + QUERY, head])
    assert list(naming.canonical.values()) == [WORDS, QUERY]
    assert naming.left_out == (head,)


def test_what_only_looks_like_a_head_is_kept():
    names = [WORDS, "head.dense.weight", "decoder.layers.0.weight"]
    assert list(canonical_naming(names).canonical) == names


def test_a_tied_matrix_gets_the_embeddings_name_once():
    stored = [
        "bert." + QUERY,
        "bert.embeddings.LayerNorm.weight",
        "cls.predictions.decoder.weight",
        "lm_head.decoder.weight",
    ]
    naming = canonical_naming(stored)
    assert naming.canonical["cls.predictions.decoder.weight"] == WORDS
    assert naming.left_out == ("lm_head.decoder.weight",)


@pytest.mark.parametrize("names", [["wte.weight", "h.0.weight"], ["encoder.weight"]])
def test_a_head_is_no_embedding_where_nothing_stands_beside_it(names):
    assert canonical_naming([*names, "lm_head.weight"]).left_out == ("lm_head.weight",)


def test_custom_code_keeps_its_names_but_for_wrappers():
    stored = ["0.auto_model.bert.encoder.weight", "0.auto_model.cls.decoder.weight", "2.linear.weight"]
    naming = canonical_naming(stored, custom_code=True)
    assert list(naming.canonical.values()) == ["bert.encoder.weight", "cls.decoder.weight"]
    assert naming.left_out == ("2.linear.weight",)


def test_no_names():
    assert canonical_naming([]).canonical == {}
