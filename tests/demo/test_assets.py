from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from embedmerge.demo.assets import PUBLISHED_SHA256, embedded_base, require_published
from embedmerge.errors import EmbedmergeError

if TYPE_CHECKING:
    from pathlib import Path


def test_the_embedded_base_is_the_published_model() -> None:
    assert (embedded_base() / "modules.json").exists()


def test_other_weights_are_refused(tmp_path: Path) -> None:
    weights = tmp_path / "model.safetensors"
    shutil.copy(embedded_base() / "model.safetensors", weights)
    with weights.open("r+b") as file:
        file.seek(-1, 2)
        last = file.read(1)
        file.seek(-1, 2)
        file.write(bytes([last[0] ^ 1]))
    with pytest.raises(EmbedmergeError, match=PUBLISHED_SHA256[:12]):
        require_published(weights)
