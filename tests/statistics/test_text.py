from __future__ import annotations

import json

import pytest

from embedmerge.errors import EmbedmergeError
from embedmerge.merging.coefficients import Coefficients
from embedmerge.merging.registry import method
from embedmerge.merging.streaming import Arithmetic
from embedmerge.statistics.text import Text, load_texts, require_fitting, texts_for, texts_sha256

TEN = [f"text number {number}" for number in range(10)]


@pytest.fixture
def write(tmp_path):
    def write(name, content):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def told(caught):
    """The message, which must be one line."""
    (line,) = str(caught.value).splitlines()
    return line


def test_a_text_file_has_one_text_on_each_line(write):
    path = write("ten.txt", "\n\n".join(f"  {text} \r" for text in TEN) + "\n")
    assert load_texts(path, 100, 0) == [Text(text) for text in TEN]


def test_rows_may_hold_texts_or_examples(write):
    rows = [
        {"text": "alone"},
        {"text": ["first", "second"]},
        {"query": "asked", "pos": ["found", "found too"], "neg": ["passed over"]},
        {"query": "asked again", "pos": "one text"},
        {"pos": ["no query"], "other": 3},
    ]
    path = write("rows.jsonl", "\n\n".join(map(json.dumps, rows)))
    assert load_texts(path, 100, 0) == [
        Text("alone"),
        Text("first"),
        Text("second"),
        Text("asked", "query"),
        Text("found"),
        Text("found too"),
        Text("asked again", "query"),
        Text("one text"),
        Text("no query"),
    ]


def test_a_text_that_occurs_twice_counts_once_but_not_as_query_and_document(write):
    rows = [{"query": "same", "pos": ["same", "same", " "]}, {"text": ["same", *TEN[:6]]}]
    path = write("rows.jsonl", "\n".join(map(json.dumps, rows)))
    assert load_texts(path, 100, 0) == [Text("same", "query"), Text("same"), *map(Text, TEN[:6])]


def test_of_many_texts_some_are_chosen_by_the_seed_and_keep_their_order(write):
    every = [f"{number:04}" for number in range(500)]
    path = write("many.txt", "\n".join(every))
    chosen = [text.content for text in load_texts(path, 40, 3)]
    assert len(set(chosen)) == 40
    assert chosen == sorted(chosen)
    assert chosen[-1] > "0400"
    assert [text.content for text in load_texts(path, 40, 3)] == chosen
    assert [text.content for text in load_texts(path, 40, 4)] != chosen


def test_the_digest_is_of_the_texts_and_not_of_the_file(write):
    one = load_texts(write("a.txt", "\n".join(TEN)), 100, 0)
    other = load_texts(write("b.jsonl", json.dumps({"text": TEN})), 100, 0)
    assert texts_sha256(one) == texts_sha256(other)
    assert texts_sha256(one) != texts_sha256(one[:-1])
    assert texts_sha256(one) != texts_sha256(one[::-1])
    assert texts_sha256(one) != texts_sha256([*one[:-1], Text(one[-1].content, "query")])
    assert texts_sha256([Text("ab"), Text("c")]) != texts_sha256([Text("a"), Text("bc")])


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("few.txt", "one\ntwo\ntwo\n\n", "2 different texts in it; give at least 8, better some hundred"),
        ("empty.jsonl", "", "0 different texts in it; give at least 8, better some hundred"),
        ("texts.csv", "a,b", "text must be in a .txt file, one on each line, or in a .jsonl file"),
        ("texts", "a", "text must be in a .txt file, one on each line, or in a .jsonl file"),
        ("bytes.txt", b"\xff\xfe\xff", "cannot be read as UTF-8 text"),
        ("cut.jsonl", '{"text": "a"}\n{"text": ', "cut.jsonl:2: not a JSON object ("),
        ("deep.jsonl", "[" * 100_000, "deep.jsonl:1: not a JSON object"),
        ("list.jsonl", '["a"]', "list.jsonl:1: not a JSON object with `text`, or with `query` and `pos`"),
        ("keys.jsonl", '\n{"passage": "a"}', "keys.jsonl:2: not a JSON object with `text`"),
        ("number.jsonl", '{"text": 3}', "number.jsonl:1: `text` must be a text or a list of texts"),
        ("null.jsonl", '{"query": "a", "pos": [null]}', "null.jsonl:1: `pos` must be a text or a list"),
    ],
)
def test_bad_files_are_refused_in_one_line(write, name, content, said):
    path = write(name, content)
    with pytest.raises(EmbedmergeError) as caught:
        load_texts(path, 100, 0)
    assert told(caught).startswith(str(path))
    assert said in told(caught)


def test_a_missing_file_and_a_folder_are_refused_in_one_line(tmp_path):
    with pytest.raises(EmbedmergeError) as caught:
        load_texts(tmp_path / "none.txt", 100, 0)
    assert told(caught) == f"{tmp_path / 'none.txt'}: no such file of texts; check the path"
    (tmp_path / "folder.txt").mkdir()
    with pytest.raises(EmbedmergeError, match="cannot be read as UTF-8 text") as caught:
        load_texts(tmp_path / "folder.txt", 100, 0)
    told(caught)


def test_text_goes_with_the_methods_that_need_it_and_with_no_other():
    require_fitting(method("fisher"), "some.txt")
    require_fitting(method("linear"), None)
    with pytest.raises(EmbedmergeError) as caught:
        require_fitting(method("regmean"), None)
    assert told(caught).startswith("method regmean: needs unlabelled text, a .txt file")
    with pytest.raises(EmbedmergeError) as caught:
        require_fitting(method("linear"), "some.txt")
    assert told(caught) == "method linear: has no use for text; leave some.txt out"


def test_a_method_s_own_parameters_say_how_many_texts_are_read(write):
    path = write("many.txt", "\n".join(f"{number:04}" for number in range(500)))
    coefficients = Coefficients.uniform(["base", "a"])
    arithmetic = Arithmetic.of("fisher", {"examples": 20, "seed": 5}, coefficients)
    assert texts_for(arithmetic, path) == load_texts(path, 20, 5)
    assert texts_for(Arithmetic.of("linear", {}, coefficients), None) == []
