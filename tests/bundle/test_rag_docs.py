"""The examples of docs/rag.md, run in the order in which they stand there."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest
from rag_models import LIBRARIES

DOCS = Path(__file__).parent.parent.parent / "docs"
BLOCKS = re.findall(r"^```(bash|python)\n(.*?)^```$", (DOCS / "rag.md").read_text(), re.MULTILINE | re.DOTALL)
SHOWN = re.compile(r"^0\.\d{3}  docs/weights\.md#\d+  Choosing weights", re.MULTILINE)
FOREIGN = re.compile(r"--layout|langchain|llama_index|haystack|FAISS")


@pytest.fixture
def place(merged_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with a merged model and some pages, as the examples expect it."""
    (tmp_path / "merged").symlink_to(merged_model)
    (tmp_path / "docs").mkdir()
    for page in ("mergekit.md", "weights.md"):
        shutil.copy(DOCS / page, tmp_path / "docs")
    monkeypatch.chdir(tmp_path)


def run(blocks: list[tuple[str, str]], embedmerge: Callable) -> int:
    """Run blocks after one another, and say how many there were."""
    names: dict = {}
    for language, block in blocks:
        if language == "python":
            exec(compile(block, "docs/rag.md", "exec"), names)
            continue
        for line in block.splitlines():
            program, *words = shlex.split(line)
            assert program == "embedmerge"
            code, _, err = embedmerge(*words)
            assert code == 0, err
    return len(blocks)


@pytest.mark.skipif(
    all(find_spec(name.partition(".")[0]) for name in LIBRARIES),
    reason="all examples are run by the next test",
)
def test_examples_of_embedmerge_itself(
    place: None, embedmerge: Callable, capsys: pytest.CaptureFixture
) -> None:
    assert run([block for block in BLOCKS if not FOREIGN.search(block[1])], embedmerge) >= 4
    assert re.search(
        r"^0\.\d{3}  docs/weights\.md#\d+  Choosing weights", capsys.readouterr().out, re.MULTILINE
    )


def test_all_examples(place: None, embedmerge: Callable, capsys: pytest.CaptureFixture) -> None:
    for library in LIBRARIES:
        pytest.importorskip(library, reason=f"{library} is of the extra `rag`, which is not installed")
    assert run(BLOCKS, embedmerge) >= 9
    assert SHOWN.search(capsys.readouterr().out)
