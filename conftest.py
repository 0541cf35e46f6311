"""Settings of every test and doctest: offline, quiet, and out of the user's cache."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TQDM_DISABLE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
# The models are tiny: a second thread only waits for the first.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep what tests compute out of the user's cache."""
    os.environ["EMBEDMERGE_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    os.environ.pop("EMBEDMERGE_DATA", None)
    yield
