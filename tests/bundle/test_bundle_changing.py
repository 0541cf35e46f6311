from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from bundle_corpora import texts

from embedmerge.api import index, search
from embedmerge.bundle import BundleSettings, Deletion, open_bundle
from embedmerge.bundle.replacing import exchange, replacement
from embedmerge.errors import EmbedmergeError

QUESTIONS = list(texts(8, 5).values())


def answers(bundle: Path) -> list[list[tuple[str, float]]]:
    return [
        [(hit.passage.id, hit.score) for hit in answer.hits] for answer in search(bundle, QUESTIONS, k=12)
    ]


def content(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


@pytest.fixture
def bundle(base: Path, table: Callable, tmp_path: Path) -> Path:
    """Of forty documents."""
    index(str(base), table("first.jsonl", texts(40)), tmp_path / "bundle")
    return tmp_path / "bundle"


def test_what_is_appended_is_found_as_if_it_had_always_been_there(
    base: Path, bundle: Path, table: Callable, tmp_path: Path
) -> None:
    more = texts(20, 1, "new")
    done = index(str(base), table("more.jsonl", more), bundle, append=True)
    assert (done.added, done.updated, done.removed, done.unchanged) == (20, 0, 0, 0)
    assert (done.documents, done.encoded) == (60, 20)
    index(str(base), table("all.jsonl", {**texts(40), **more}), tmp_path / "fresh")
    assert answers(bundle) == answers(tmp_path / "fresh")
    assert open_bundle(bundle).manifest.index.documents == 60


def test_only_what_has_changed_is_encoded_again(
    base: Path, bundle: Path, table: Callable, tmp_path: Path
) -> None:
    rows = {**texts(40), "d3": "a river with a bridge", "d50": "bank of the river water"}
    done = index(str(base), table("more.jsonl", rows), bundle, append=True)
    assert (done.added, done.updated, done.removed, done.unchanged) == (1, 1, 0, 39)
    assert (done.documents, done.encoded, done.cached) == (41, 2, 0)
    index(str(base), table("all.jsonl", rows), tmp_path / "fresh")
    assert answers(bundle) == answers(tmp_path / "fresh")
    assert "a river with a bridge" in {passage.text for passage in open_bundle(bundle).passages}


def test_a_file_that_was_edited_loses_its_old_passages(base: Path, notes: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    index(str(base), notes, bundle)
    (notes / "guide.md").write_text("# Guide\n\na single passage")
    (notes / "river.txt").write_text("  \n")
    done = index(str(base), notes, bundle, append=True)
    assert (done.updated, done.removed, done.unchanged, done.encoded) == (1, 1, 1, 1)
    assert [passage.id for passage in open_bundle(bundle).passages] == [
        "notes/deep/market.txt#0", "notes/guide.md#0"
    ]  # fmt: skip


@pytest.mark.parametrize("kind", ["exact", "hnsw", "ivf_sq8"])
def test_documents_are_deleted_by_id_and_by_file(
    kind: str, base: Path, table: Callable, tmp_path: Path
) -> None:
    bundle, settings = tmp_path / "bundle", BundleSettings(kind=kind)  # type: ignore[arg-type]
    index(str(base), table("first.jsonl", texts(200)), bundle, settings=settings)
    index(str(base), table("more.jsonl", texts(30, 1, "new")), bundle, append=True)
    done = index(None, None, bundle, deletion=Deletion(("d0", "d1"), ("more.jsonl",)))
    assert (done.documents, done.removed, done.encoded) == (198, 32, 0)
    assert [passage.id for passage in open_bundle(bundle).passages] == [f"d{row}" for row in range(2, 200)]
    (answer,) = search(bundle, [texts(200)["d7"]], k=3)
    assert answer.hits[0].passage.id == "d7"


def test_synchronised_with_a_corpus_it_holds_that_alone(
    base: Path, bundle: Path, table: Callable, tmp_path: Path
) -> None:
    rows = {**dict(list(texts(40).items())[10:]), "other": "tree by the house"}
    done = index(str(base), table("now.jsonl", rows), bundle, append=True, deletion=Deletion(missing=True))
    assert (done.added, done.removed, done.unchanged, done.encoded) == (1, 10, 30, 1)
    index(str(base), table("all.jsonl", rows), tmp_path / "fresh")
    assert answers(bundle) == answers(tmp_path / "fresh")


def test_all_documents_may_be_replaced_at_once(base: Path, bundle: Path, table: Callable) -> None:
    done = index(str(base), table("new.jsonl", texts(40, 9)), bundle, append=True)
    assert (done.updated, done.documents) == (40, 40)
    assert {passage.text for passage in open_bundle(bundle).passages} == set(texts(40, 9).values())


def test_where_nothing_changes_nothing_is_written(base: Path, bundle: Path, table: Callable) -> None:
    before, node = content(bundle), bundle.stat().st_ino
    done = index(str(base), table("again.jsonl", texts(40)), bundle, append=True)
    assert (done.added, done.updated, done.unchanged, done.encoded, done.cached) == (0, 0, 40, 0, 0)
    assert (content(bundle), bundle.stat().st_ino) == (before, node)


def test_a_cut_corpus_stays_cut_the_same_way(base: Path, notes: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    index(str(base), notes, bundle, settings=BundleSettings(chunk_tokens=24))
    (notes / "more.txt").write_text("bank loan court " * 20)
    index(str(base), notes, bundle, append=True)
    index(str(base), notes, tmp_path / "fresh", settings=BundleSettings(chunk_tokens=24))
    assert set(open_bundle(bundle).passages) == set(open_bundle(tmp_path / "fresh").passages)


def test_another_model_is_refused(base: Path, expert: Path, bundle: Path, table: Callable) -> None:
    before = content(bundle)
    with pytest.raises(
        EmbedmergeError, match=r"the index is of base, and this is another model \(sha256 \w{12} and"
    ):
        index(str(expert), table("more.jsonl", texts(3, 1, "new")), bundle, append=True)
    assert content(bundle) == before


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"query_prompt": "of the "}, "query prompt 'of the ': the bundle was made with ''"),
        ({"document_prompt": "of the "}, "document prompt 'of the ': the bundle was made with ''"),
        ({"chunk_tokens": 40}, "tokens a passage 40: the bundle was made with 0"),
        ({"chunk_overlap": 4}, "tokens repeated 4: the bundle was made with 0"),
        ({"precision": "bf16"}, "precision 'bf16': the bundle was made with 'fp32'"),
        ({"max_seq_length": 20}, "max_seq_length 20: the bundle was made with None"),
        ({"kind": "hnsw"}, "index kind 'hnsw': the bundle was made with 'exact'"),
        ({"effort": 3}, "effort 3: the bundle was made with None"),
    ],
)
def test_other_settings_are_refused(
    settings: dict, message: str, base: Path, bundle: Path, table: Callable
) -> None:
    before = content(bundle)
    with pytest.raises(EmbedmergeError, match=message):
        index(
            str(base),
            table("more.jsonl", texts(3, 1, "new")),
            bundle,
            append=True,
            settings=BundleSettings(**settings),
        )
    assert content(bundle) == before


def test_the_same_settings_may_be_said_again(base: Path, bundle: Path, table: Callable) -> None:
    settings = BundleSettings(query_prompt="", chunk_tokens=0, precision="fp32", kind="exact")
    done = index(str(base), table("more.jsonl", texts(3, 1, "new")), bundle, append=True, settings=settings)
    assert done.added == 3


@pytest.mark.parametrize(
    ("deletion", "message"),
    [
        (Deletion(("d99",)), r"--delete d99: the bundle has nothing of that name; did you mean 'd9"),
        (Deletion(sources=("frist.jsonl",)), r"--delete-source frist.jsonl.*did you mean 'first.jsonl'"),
        (Deletion(tuple(texts(40))), "no document would be left in it; remove the folder"),
    ],
)
def test_bad_deletions_take_nothing_out(deletion: Deletion, message: str, bundle: Path) -> None:
    before = content(bundle)
    with pytest.raises(EmbedmergeError, match=message):
        index(None, None, bundle, deletion=deletion)
    assert content(bundle) == before


def test_a_damaged_corpus_changes_nothing(base: Path, bundle: Path, table: Callable) -> None:
    before, path = content(bundle), table("more.jsonl", texts(3, 1, "new"))
    path.write_text(path.read_text() + '{"id": "last"')
    with pytest.raises(EmbedmergeError, match=r"more\.jsonl:4: not a JSON object"):
        index(str(base), path, bundle, append=True)
    assert content(bundle) == before
    assert list(bundle.parent.glob(".bundle*")) == []


def test_a_file_of_somebody_else_is_not_lost(base: Path, bundle: Path) -> None:
    (bundle / "README.md").write_text("mine")
    with pytest.raises(EmbedmergeError, match=r"README\.md: not a file of the bundle"):
        index(None, None, bundle, deletion=Deletion(("d1",)))
    assert (bundle / "README.md").read_text() == "mine"
    search(bundle, ["bank"])


def test_two_processes_do_not_change_it_at_once(bundle: Path) -> None:
    descriptor = os.open(bundle, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    with pytest.raises(EmbedmergeError, match="another process is changing it"):
        index(None, None, bundle, deletion=Deletion(("d1",)))
    os.close(descriptor)
    assert index(None, None, bundle, deletion=Deletion(("d1",))).removed == 1


def test_who_has_opened_it_reads_on_while_it_is_replaced(bundle: Path) -> None:
    opened = open_bundle(bundle)
    before = list(opened.passages)
    index(None, None, bundle, deletion=Deletion(("d0", "d1", "d2")))
    assert list(opened.passages) == before


def test_a_change_that_is_killed_leaves_the_old_bundle_or_the_new_one(bundle: Path, tmp_path: Path) -> None:
    program = (
        "import sys, pathlib, shutil\n"
        "from embedmerge.bundle.replacing import replacement\n"
        "bundle = pathlib.Path(sys.argv[1])\n"
        "print(flush=True)\n"
        "while True:\n"
        "    with replacement(bundle) as beside:\n"
        "        shutil.copytree(bundle, beside, dirs_exist_ok=True)\n"
    )
    before = answers(bundle)
    for round_ in range(6):
        running = subprocess.Popen([sys.executable, "-c", program, str(bundle)], stdout=subprocess.PIPE)
        assert running.stdout is not None
        running.stdout.readline()
        time.sleep(0.02 + 0.013 * round_)
        running.kill()
        running.wait()
        open_bundle(bundle)
    assert answers(bundle) == before
    index(None, None, bundle, deletion=Deletion(("d1",)))
    assert list(bundle.parent.glob(".*")) == []


def test_a_swap_in_three_steps_that_was_killed_is_put_right(bundle: Path) -> None:
    before = content(bundle)
    bundle.rename(bundle.with_name(".bundle.aside"))  # where a system that cannot exchange names was killed
    assert content(open_bundle(bundle).folder) == before
    with replacement(bundle) as beside:
        (beside / "manifest.json").write_text("new")
    assert content(bundle) == {"manifest.json": b"new"}


def test_folders_change_names(tmp_path: Path) -> None:
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    exchange(tmp_path / "one", tmp_path / "other")
    assert (tmp_path / "one" / "file").read_text() == "other"
    assert (tmp_path / "other" / "file").read_text() == "one"
    with pytest.raises(FileNotFoundError):
        exchange(tmp_path / "one", tmp_path / "nothing")


def test_what_is_no_bundle_cannot_be_changed(base: Path, table: Callable, tmp_path: Path) -> None:
    with pytest.raises(EmbedmergeError, match="no such bundle"):
        index(str(base), table("more.jsonl", texts(3)), tmp_path / "nothing", append=True)
    with pytest.raises(EmbedmergeError, match="name a model and a corpus, in this order"):
        index(str(base), None, tmp_path / "nothing")
    with pytest.raises(EmbedmergeError, match="nothing to do"):
        index(None, None, tmp_path / "nothing")
