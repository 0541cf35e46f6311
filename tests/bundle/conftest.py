"""Corpora of the few words that the tiny checkpoints know."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

os.environ["HAYSTACK_TELEMETRY_ENABLED"] = "False"  # read once, as haystack is imported

import pytest
from bundle_corpora import GUIDE
from rag_models import merged_minilm
from typer.testing import CliRunner

from embedmerge.cli import app

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    """A folder of one Markdown file and two text files."""
    folder = tmp_path / "notes"
    (folder / "deep").mkdir(parents=True)
    (folder / "guide.md").write_text(GUIDE)
    (folder / "river.txt").write_text("water of the river and a tree by the house")
    (folder / "deep" / "market.txt").write_text("market price of a stock and a drug")
    return folder


@pytest.fixture
def table(tmp_path: Path) -> Callable[..., Path]:
    """Writes rows as JSON lines."""

    def write(name: str, rows: dict[str, str], **further: str) -> Path:
        path = tmp_path / name
        lines = [json.dumps({"id": key, "text": text, **further}) for key, text in rows.items()]
        path.write_text("".join(line + "\n" for line in lines))
        return path

    return write


@pytest.fixture
def embedmerge() -> Callable[..., tuple[int, str, str]]:
    """Calls the command line: exit code, standard output, standard error."""

    def call(*words: Any, given: str | None = None) -> tuple[int, str, str]:
        result = CliRunner().invoke(app, [str(word) for word in words], input=given)
        return result.exit_code, result.stdout, result.stderr

    return call


@pytest.fixture(scope="session")
def merged_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real merged model with a query prompt. Read only."""
    return merged_minilm(tmp_path_factory.mktemp("merged"))
