from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from embedmerge.demo import assets, job
from embedmerge.tuning import Tuning

if TYPE_CHECKING:
    from pathlib import Path


class Watcher:
    def __init__(self) -> None:
        self.stages: list[str] = []

    def stage(self, name: str) -> None:
        self.stages.append(name)

    def progress(self, label: str, done: int, total: int) -> None:
        assert 0 <= done <= total


@pytest.fixture
def small_demo(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, base: Path) -> None:
    """The demo itself, on a tiny base, with few documents and steps."""
    monkeypatch.setenv("EMBEDMERGE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(assets, "embedded_base", lambda: base)
    monkeypatch.setattr(assets, "TUNING", Tuning(steps=2, batch_size=4, max_seq_length=16, precision="fp32"))
    for name in ("TARGET_DOCUMENTS", "GENERAL_DOCUMENTS"):
        monkeypatch.setattr(assets, name, 40)
    for name in ("TARGET_QUERIES", "GENERAL_QUERIES"):
        monkeypatch.setattr(assets, name, 20)
    monkeypatch.setattr(assets, "EXAMPLES", 8)


def test_the_demo_ends_in_a_model_that_its_own_lines_search_with(small_demo: None, tmp_path: Path) -> None:
    watcher = Watcher()
    report, made = job.run_demo(tmp_path / "run", watcher)
    assert [source.role for source in report.sources] == ["base", "target", "peer"]
    assert {task.task for task in report.comparison.tasks} == {
        assets.TARGET, *assets.GENERAL, assets.REFERENCE,
    }  # fmt: skip
    assert "tune on torch" in watcher.stages
    lines = job.search_lines(tmp_path / "run", made)
    found = subprocess.run([sys.executable, "-c", lines], capture_output=True, text=True, check=True).stdout
    assert len(found.splitlines()) == 3

    again = Watcher()
    assert job.run_demo(tmp_path / "run", again)[0] == report
    assert "tune on torch" not in again.stages
    check_nothing_leaks(made)


def check_nothing_leaks(made: assets.DemoAssets) -> None:
    """No text of the test split is among the examples or the rows tuned on."""
    collection = made.folder / "collections" / assets.TARGET
    qrels = (collection / "qrels" / "test.tsv").read_text().splitlines()[1:]
    tested = {row.split("\t")[1] for row in qrels}
    corpus = [json.loads(line) for line in (collection / "corpus.jsonl").read_text().splitlines()]
    texts = {row["text"] for row in corpus if row["_id"] in tested}
    assert texts
    rows = [json.loads(line) for line in (made.folder / "examples.jsonl").read_text().splitlines()]
    shown = {passage for row in rows for passage in (*row["pos"], *row["neg"])}
    shown |= {body for _, body in assets.training_pairs(assets._harvest(assets.TARGET))}
    assert texts.isdisjoint(shown)
