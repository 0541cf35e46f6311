from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from bundle_corpora import GUIDE
from transformers import AutoTokenizer
from words import sentence

from embedmerge.bundle.chunking import Chunker, Chunking
from embedmerge.bundle.passage import Document
from embedmerge.errors import EmbedmergeError

PROMPT = "query the index "


def cut(folder: Path, document: Document, tokens: int | None, overlap: int = 0, prompt: str = "") -> list:
    return list(Chunker(Chunking(tokens=tokens, overlap=overlap), folder, prompt).passages(document))


def long_text(sentences: int = 40) -> str:
    random = np.random.default_rng(0)
    return " ".join(f"{sentence(random, 9).capitalize()}." for _ in range(sentences))


def test_markdown_is_cut_at_its_headings_which_become_titles(base: Path) -> None:
    passages = cut(base, Document("", "guide.md", GUIDE, markdown=True), 48)
    assert [(passage.id, passage.title) for passage in passages] == [
        ("guide.md#0", "Merge guide"),
        ("guide.md#1", "Merge guide > Average"),
        ("guide.md#2", "Merge guide > Search a bank > Loan"),
    ]
    assert "# not a heading either" in passages[1].text
    assert "title: not" not in "".join(passage.text for passage in passages)
    assert all(GUIDE[passage.start : passage.end] == passage.text for passage in passages)


@pytest.mark.parametrize("arch", ["bert", "xlm-roberta"])
@pytest.mark.parametrize("markdown", [False, True])
def test_no_passage_is_longer_than_asked_with_prompt_title_and_special_tokens(
    make_checkpoint: Callable, arch: str, markdown: bool
) -> None:
    base = make_checkpoint(f"chunked-{arch}", arch=arch)
    tokenizer = AutoTokenizer.from_pretrained(base)
    text = f"# Bank\n\n{long_text()}\n\n## Court\n\n{long_text()}" if markdown else long_text()
    document = Document("", "d", text, "river tree", "d", markdown)
    passages = cut(base, document, 40, prompt=PROMPT)
    lengths = [len(tokenizer(PROMPT + passage.encoded)["input_ids"]) for passage in passages]
    assert max(lengths) <= 40
    assert np.mean(lengths) > 20
    assert all(text[passage.start : passage.end] == passage.text for passage in passages)
    for one, other in pairwise(passages):
        assert one.end <= other.start
    assert sum(len(passage.text.split()) for passage in passages) == len(long_text().split()) * (1 + markdown)


def test_passages_overlap_where_that_is_asked_for(base: Path) -> None:
    document = Document("", "d", long_text())
    passages = cut(base, document, 44, overlap=12)
    shared = [one.end - other.start for one, other in pairwise(passages)]
    assert min(shared) > 0
    assert len(passages) > len(cut(base, document, 44))


def test_titles_leave_half_of_the_room_to_the_text(base: Path) -> None:
    headings = "".join(f"{'#' * level} how do i merge two models {level}\n\n" for level in range(1, 7))
    (passage,) = cut(base, Document("", "d", f"{headings}river water", "bank loan", markdown=True), 40)
    assert passage.text == "river water"
    assert passage.title == "how do i merge two models 5 > how do i merge two models 6"


def test_whole_documents_keep_their_ids(base: Path) -> None:
    (passage,) = cut(base, Document("", "d", long_text(), "title"), None)
    assert (passage.id, passage.document, passage.text, passage.title) == ("d", "d", long_text(), "title")


def test_a_document_of_a_title_alone_is_a_passage_and_one_of_headings_alone_is_none(base: Path) -> None:
    (passage,) = cut(base, Document("", "d", "", "river bank"), 40)
    assert (passage.encoded, passage.start, passage.end) == ("river bank", 0, 0)
    assert cut(base, Document("", "d", "# Bank\n\n## River\n", markdown=True), 40) == []


def test_too_short_passages_are_refused(base: Path) -> None:
    with pytest.raises(EmbedmergeError, match=r"12 tokens a passage.*too few"):
        cut(base, Document("", "d", "bank"), 12)
    with pytest.raises(EmbedmergeError, match=r"40 tokens a passage, 30 of them repeated: too few"):
        cut(base, Document("", "d", "bank"), 40, overlap=30)


def test_a_model_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EmbedmergeError, match="its tokenizer cannot be read"):
        cut(tmp_path, Document("", "d", "bank"), 40)
