from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from embedmerge.checkpoint.hub import Location
from embedmerge.checkpoint.layout import open_checkpoint
from embedmerge.checkpoint.vocabulary import normaliser, special_tokens, vocabulary
from embedmerge.errors import EmbedmergeError


def opened(folder):
    return open_checkpoint(Location(str(folder), Path(folder), None))


@pytest.fixture
def copy(tmp_path, base):
    return Path(shutil.copytree(base, tmp_path / "copy"))


@pytest.mark.parametrize("arch", ["bert", "xlm-roberta"])
def test_every_row_is_the_token_that_transformers_gives_it(make_checkpoint, arch):
    folder = make_checkpoint(f"vocabulary-{arch}", arch=arch)
    checkpoint = opened(folder)
    tokens = {row: token for token, row in AutoTokenizer.from_pretrained(str(folder)).get_vocab().items()}
    assert vocabulary(checkpoint) == tokens
    assert len(tokens) == checkpoint.config["vocab_size"]


def test_added_tokens_are_rows_too(copy):
    tokenizer = json.loads((copy / "tokenizer.json").read_text())
    tokenizer["added_tokens"].append({"id": 999, "content": "[NEW]"})
    (copy / "tokenizer.json").write_text(json.dumps(tokenizer))
    assert vocabulary(opened(copy))[999] == "[NEW]"


def test_vocab_txt_tells_the_same_as_tokenizer_json(copy):
    wanted = vocabulary(opened(copy))
    (copy / "tokenizer.json").unlink()
    assert vocabulary(opened(copy)) == wanted


def test_no_tokenizer_no_vocabulary(copy):
    (copy / "tokenizer.json").unlink()
    (copy / "vocab.txt").unlink()
    assert vocabulary(opened(copy)) is None
    assert normaliser(opened(copy)) is None


@pytest.mark.parametrize(
    "content",
    [
        "[]",
        "{}",
        '{"model": []}',
        '{"model": {"vocab": 7}}',
        '{"model": {"vocab": {"a": "x"}}}',
        '{"model": {"vocab": [[]]}}',
        '{"model": {"vocab": {}}, "added_tokens": [1]}',
        "{",
    ],
)
def test_a_tokenizer_json_of_another_form_is_a_readable_error(copy, content):
    (copy / "tokenizer.json").write_text(content)
    with pytest.raises(EmbedmergeError) as caught:
        vocabulary(opened(copy))
    assert str(copy / "tokenizer.json") in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_special_tokens_by_role(base):
    assert special_tokens(opened(base)) == {
        "cls_token": "[CLS]",
        "sep_token": "[SEP]",
        "pad_token": "[PAD]",
        "mask_token": "[MASK]",
        "unk_token": "[UNK]",
    }


def test_the_special_tokens_map_wins_and_may_hold_objects(copy):
    (copy / "special_tokens_map.json").write_text(
        json.dumps({"pad_token": {"content": "<pad>", "lstrip": False}})
    )
    assert special_tokens(opened(copy))["pad_token"] == "<pad>"
    assert special_tokens(opened(copy))["cls_token"] == "[CLS]"


def test_the_normaliser_is_the_tokenizers(base):
    assert normaliser(opened(base))["type"] == "BertNormalizer"
    assert normaliser(opened(base))["lowercase"] is True
