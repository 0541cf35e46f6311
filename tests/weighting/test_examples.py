from __future__ import annotations

import gzip
import json
import random
from typing import TYPE_CHECKING, Any

import pytest

from embedmerge.errors import EmbedmergeError
from embedmerge.weighting.examples import (
    Example,
    examples_sha256,
    load_examples,
    read_examples,
    sample_negatives,
)

if TYPE_CHECKING:
    from pathlib import Path


def written(path: Path, *rows: Any) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def test_reads_rows_and_skips_blank_lines(tmp_path: Path) -> None:
    file = written(
        tmp_path / "few.jsonl", {"query": "q", "pos": ["p"], "neg": ["n"]}, "", {"query": "r", "pos": ["s"]}
    )
    assert load_examples(file) == [Example("q", ("p",), ("n",)), Example("r", ("s",), ())]


def test_only_a_line_feed_ends_a_row(tmp_path: Path) -> None:
    row = {"query": "one\u2028line\x85still", "pos": ["p"]}
    file = tmp_path / "few.jsonl"
    file.write_text("\ufeff" + json.dumps(row, ensure_ascii=False) + "\r\n", encoding="utf-8")
    assert load_examples(file) == [Example(row["query"], ("p",))]


def test_compressed_rows_are_read(tmp_path: Path) -> None:
    file = tmp_path / "few.jsonl.gz"
    file.write_bytes(gzip.compress(b'{"query": "q", "pos": ["p"]}\n'))
    assert read_examples(str(file)).examples == [Example("q", ("p",))]


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"pos": ["p"]}, "`query` is missing"),
        ({"query": "  ", "pos": ["p"]}, "`query` is empty"),
        ({"query": 3, "pos": ["p"]}, "`query`"),
        ({"query": "q"}, "`pos` is missing"),
        ({"query": "q", "pos": []}, "`pos` is missing or empty"),
        ({"query": "q", "pos": "passage"}, "a list of texts, and is a bare one; write ['passage']"),
        ({"query": "q", "pos": ["p"], "neg": "n"}, "`neg` must be a list of texts, and is a bare one"),
        ({"query": "q", "pos": [1]}, "`pos` must be a list of texts"),
        (["q"], "not a JSON object"),
        ("{'query': 'q'}", "not a JSON object"),
    ],
)
def test_a_bad_row_is_named_with_its_line(tmp_path: Path, row: Any, says: str) -> None:
    file = written(tmp_path / "few.jsonl", {"query": "q", "pos": ["p"]}, row)
    with pytest.raises(EmbedmergeError) as caught:
        load_examples(file)
    assert f"{file}:2: " in str(caught.value)
    assert says in str(caught.value)


def test_missing_and_empty_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(EmbedmergeError, match="no such examples file"):
        load_examples(tmp_path / "none.jsonl")
    with pytest.raises(EmbedmergeError, match="no examples in it"):
        load_examples(written(tmp_path / "empty.jsonl"))


def test_negatives_are_drawn_as_a_seeded_lm_cocktail_draws_them() -> None:
    examples = [Example(str(row), ("p",), tuple(f"{row}-{n}" for n in range(9))) for row in range(4)]
    random.seed(7)
    wanted = [tuple(random.sample(list(example.neg), 5)) for example in examples]
    assert [example.neg for example in sample_negatives(examples, 5, seed=7)] == wanted


def test_fewer_negatives_than_asked_name_the_row() -> None:
    examples = [Example("q", ("p",), ("a", "b")), Example("r", ("p",), ("a",))]
    with pytest.raises(EmbedmergeError, match="row 2 has 1 negatives and 2 are asked"):
        sample_negatives(examples, 2, seed=0)


def test_the_digest_follows_content() -> None:
    one, other = [Example("q", ("p",))], [Example("q", ("p", "p"))]
    assert examples_sha256(one) == examples_sha256([Example("q", ("p",))])
    assert examples_sha256(one) != examples_sha256(other)
