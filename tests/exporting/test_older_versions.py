from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

VERSIONS = Path(__file__).parents[2] / "eval" / "compatibility" / "versions.py"


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_an_export_gives_the_same_vectors_in_every_version(tmp_path: Path) -> None:
    work = os.environ.get("EMBEDMERGE_ENVIRONMENTS", str(tmp_path))
    command = [sys.executable, str(VERSIONS), "--work", work, "-o", str(tmp_path / "versions.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
