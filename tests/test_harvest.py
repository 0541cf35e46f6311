from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING

import pytest

from embedmerge.errors import EmbedmergeError
from embedmerge.harvest import (
    HELD_OUT,
    Docstring,
    harvest_language_reference,
    harvest_library,
    split_of,
    training_pairs,
    write_beir,
)
from embedmerge.harvest.duplicates import distinct
from embedmerge.harvest.text import normalised, read_docstring

if TYPE_CHECKING:
    from pathlib import Path

LONG = (
    "It walks over every row of the table, takes what the caller asked for and leaves all other rows alone."
)
OTHER = (
    "Two rivers meet below the old mill; the water turns a wheel that drives the saw all winter and spring."
)
C_DOC = (
    "Apart from that, the kernel multiplies, rounds once, and writes its results to memory the caller owns."
)


def source(name: str) -> str:
    return textwrap.dedent(
        f'''
        """Module of the {name} test package here.

        {OTHER}
        """
        raise RuntimeError("harvesting must never import this")

        def visible(x):
            """Select the {name} rows somebody wants. {LONG} Part of {name}."""
            def inner():
                """Hide an inner thing from view always. {LONG}"""

        def _hidden():
            """Keep this private thing to yourself please. {LONG}"""

        class Table:
            """Hold the {name} rows in memory. {C_DOC} {name} {name}"""

            def method(self):
                """Count the rows of {name} that matter.

                {OTHER[:50]} Count every {name} apple, pear, plum and cherry in the baskets by the door.
                """

        if True:
            def conditional():
                """Fold the map of {name} along its creases. Only {name} knows how the paper was folded before
                it was put away in the drawer under the window of the study."""

        def short():
            """Return the number of apples. None."""

        def trivial():
            """Get it. {LONG}"""

        def stub():
            """Deprecated since the last release of this. {LONG}"""

        def leaky():
            """Open the gate for everybody. You can: open the gate for EVERYBODY. {LONG}"""
        '''
    )


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    root = tmp_path / "site" / "orchardlib"
    (root / "tests").mkdir(parents=True)
    (root / "_private").mkdir()
    for path in ("__init__.py", "tests/test_x.py", "_private/__init__.py", "test_y.py", "conftest.py"):
        (root / path).write_text(source(path.replace("/", " ")))
    (root / "broken.py").write_text('"""Not a module at all, sadly."""\ndef (:\n')
    (root / "_c_docs.py").write_text(
        textwrap.dedent(
            f'''
            add_docstr(orchardlib.fused, r"""
            fused(input: T, *, out: T | None = None) -> T

            Multiplies all rows of :attr:`input` at once.

            {C_DOC} {{extra}}
            """.format(**common))
            add_newdoc("orchardlib", "Basket", ("weight", """
                Weight of everything inside the basket.

                The scale is read three times, then the middle reading is kept and the others are dropped.
                """))
            '''
        )
    )
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    return "orchardlib"


def test_public_docstrings_without_importing(package: str) -> None:
    pairs = {pair.name: pair for pair in harvest_library(package)}
    assert list(pairs) == [
        "orchardlib",
        "orchardlib.Basket.weight",
        "orchardlib.Table",
        "orchardlib.Table.method",
        "orchardlib.conditional",
        "orchardlib.fused",
        "orchardlib.visible",
    ]
    assert package not in sys.modules
    assert pairs["orchardlib.fused"] == Docstring(
        "orchardlib.fused", "Multiplies all rows of input at once.", C_DOC.strip()
    )
    assert pairs["orchardlib.visible"].summary == "Select the __init__.py rows somebody wants."
    assert pairs["orchardlib.visible"].body.startswith(LONG)


def test_documents_are_cut_at_a_word(package: str) -> None:
    for pair in harvest_library(package, characters=90):
        assert 80 <= len(pair.body) <= 90
    whole = {pair.name: pair.body for pair in harvest_library(package)}
    assert all(
        whole[p.name].startswith(p.body + " ") or whole[p.name] == p.body
        for p in harvest_library(package, characters=90)
    )


@pytest.mark.parametrize("name", ["no_such_library_here", "os.path", "_io"])
def test_absent_library_is_one_readable_line(name: str) -> None:
    with pytest.raises(EmbedmergeError, match=name.replace(".", r"\.")) as caught:
        harvest_library(name)
    assert "\n" not in str(caught.value)


def test_single_module() -> None:
    assert {"textwrap.fill"} <= {pair.name for pair in harvest_library("textwrap")}


def test_numpy_yields_many_clean_pairs() -> None:
    pairs = harvest_library("numpy")
    assert len(pairs) > 300
    names = [pair.name for pair in pairs]
    assert names == sorted(set(names))
    assert "numpy.lib._function_base_impl.digitize" in names
    for pair in pairs:
        assert normalised(pair.summary) not in normalised(pair.body)
        assert 80 <= len(pair.body) <= 1000
        assert len(pair.summary.split()) >= 4
        assert ":func:`" not in pair.summary


def test_language_reference() -> None:
    pairs = harvest_language_reference(characters=600)
    assert len(pairs) > 250
    assert len({pair.name for pair in pairs}) == len(pairs)
    assert all(normalised(pair.summary) not in normalised(pair.body) for pair in pairs)


def test_independent_of_the_hash_seed(package: str, tmp_path: Path) -> None:
    script = (
        "from embedmerge.harvest import *; from pathlib import Path; import sys\n"
        "pairs = harvest_library('orchardlib') + harvest_language_reference()\n"
        "write_beir(Path(sys.argv[1]), pairs, documents=150, queries=40)\n"
    )
    written = []
    for seed in ("1", "77"):
        out = tmp_path / seed
        path = os.pathsep.join([str(tmp_path / "site"), *filter(None, sys.path)])
        subprocess.run(
            [sys.executable, "-c", script, str(out)],
            check=True,
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": path},
        )
        written.append({f.relative_to(out): f.read_bytes() for f in sorted(out.rglob("*")) if f.is_file()})
    assert written[0] == written[1]


def test_near_copies_go_and_others_stay() -> None:
    words = [f"word{i}" for i in range(100)]
    text = " ".join(words)
    near = " ".join([*words[:50], "changed", *words[51:]])
    far = " ".join([*words[:40], *(f"new{i}" for i in range(60))])
    pairs = [
        Docstring("a", "First summary of them", text),
        Docstring("b", "Second summary of them", near),
        Docstring("c", "Third summary of them", far),
        Docstring("d", "first  Summary of them.", "something wholly different and unrelated " * 3),
        Docstring("e", "Fifth summary of them", text.upper()),
    ]
    assert [pair.name for pair in distinct(pairs)] == ["a", "c"]
    assert [pair.name for pair in distinct(pairs[1:])] == ["b", "c", "d"]
    assert distinct([]) == []


def test_near_copies_at_exactly_the_threshold() -> None:
    def shingled(number: int) -> str:
        return " ".join(f"w{i}" for i in range(number + 4))

    def names(number: int) -> list[str]:
        pair = [Docstring("a", "One thing", shingled(100)), Docstring("b", "Another thing", shingled(number))]
        return [kept.name for kept in distinct(pair)]

    assert names(80) == ["a"]
    assert names(79) == ["a", "b"]


def test_docstring_cleaning() -> None:
    raw = """Return :py:class:`~a.b.Thing` values, e.g. from :func:`it <x.y>` here. Then go on.

    .. versionadded:: 1.2

    Notes
    -----
    A ``literal`` and %(template)s remain in the text that describes what else there is to know."""
    pair = read_docstring("n", raw, 1000)
    assert pair is not None
    assert pair.summary == "Return a.b.Thing values, e.g. from it here."
    assert pair.body.startswith("Then go on. Notes A `literal` and remain in the text")


def fake(number: int) -> list[Docstring]:
    return [
        Docstring(f"lib.f{i}", f"Summary number {i} here", f"Body of {i} with ünïcode\ttab")
        for i in range(number)
    ]


def test_split_is_a_function_of_the_name() -> None:
    pairs = fake(2000)
    counts = {s: sum(split_of(p.name) == s for p in pairs) for s in ("train", "dev", "test")}
    assert 320 < counts["test"] < 480
    assert 140 < counts["dev"] < 260
    assert training_pairs(pairs[:500]) == [
        (p.summary, p.body) for p in pairs[:500] if split_of(p.name) == "train"
    ]
    assert any(split_of(p.name, seed=1) != split_of(p.name) for p in pairs)
    assert "train" not in {split_of(p.name, shares=HELD_OUT) for p in pairs}
    # Recorded once: a change here would move documents between train and test of everybody's earlier runs.
    assert [split_of(f"lib.f{i}") for i in range(5)] == ["test", "train", "test", "test", "dev"]


def read_beir(folder: Path) -> tuple[dict[str, str], dict[str, str], dict[str, list[tuple[str, str]]]]:
    rows = {
        name: [json.loads(line) for line in (folder / name).read_text("utf-8").splitlines()]
        for name in ("corpus.jsonl", "queries.jsonl")
    }
    qrels = {}
    for split in ("train", "dev", "test"):
        head, *lines = (folder / "qrels" / f"{split}.tsv").read_text("utf-8").splitlines()
        assert head == "query-id\tcorpus-id\tscore"
        cells = [line.split("\t") for line in lines]
        assert all(len(cell) == 3 and cell[2] == "1" for cell in cells)
        qrels[split] = [(query, document) for query, document, _ in cells]
    assert all(set(row) == {"_id", "title", "text"} for row in rows["corpus.jsonl"])
    assert all(set(row) == {"_id", "text"} for row in rows["queries.jsonl"])
    corpus, queries = ({row["_id"]: row["text"] for row in rows[name]} for name in rows)
    return corpus, queries, qrels


def test_beir_folder(tmp_path: Path) -> None:
    pairs = fake(300)
    corpus, queries, qrels = read_beir(write_beir(tmp_path / "all", pairs))
    by_name = {pair.name: pair for pair in pairs}
    assert corpus == {name: pair.body for name, pair in by_name.items()}
    assert sum(map(len, qrels.values())) == len(queries) == 300
    for split, rows in qrels.items():
        for query, document in rows:
            assert queries[query] == by_name[document].summary
            assert query != document
            assert split_of(document) == split


def test_small_corpus_keeps_every_judged_document(tmp_path: Path) -> None:
    pairs = fake(300)
    corpus, queries, qrels = read_beir(write_beir(tmp_path / "small", pairs, documents=90, queries=25))
    assert len(corpus) == 90
    assert len(qrels["test"]) == 25
    judged = [row for rows in qrels.values() for row in rows]
    assert {document for _, document in judged} <= set(corpus)
    assert {query for query, _ in judged} == set(queries)
    assert len(qrels["dev"]) == sum(split_of(pair.name) == "dev" for pair in pairs)
    again, _, fewer = read_beir(write_beir(tmp_path / "fewer", pairs[:-1], documents=90, queries=25))
    assert len(set(qrels["test"]) ^ set(fewer["test"])) <= 2
    assert len(set(again) ^ set(corpus)) <= 2


def test_beir_refusals(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").write_text("x")
    with pytest.raises(EmbedmergeError, match="not empty"):
        write_beir(tmp_path / "taken", fake(50))
    with pytest.raises(EmbedmergeError, match="same name"):
        write_beir(tmp_path / "new", fake(3) + fake(3))
    with pytest.raises(EmbedmergeError, match="test split"):
        write_beir(tmp_path / "new", [])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["taken"]
