from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import fmean

import pytest

STUDY = Path(__file__).parents[1] / "eval" / "reproduce" / "lm_cocktail" / "study.py"
OURS = ("embedmerge, 2 models", "embedmerge, all merged first, as the base")


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_small_study_gives_the_numbers_that_the_large_one_stands_for(tmp_path: Path) -> None:
    work = Path(os.environ.get("EMBEDMERGE_STUDY", tmp_path))
    done = subprocess.run(
        [sys.executable, str(STUDY), "all", "--small", "--work", str(work)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    scores = json.loads((work / "small" / "scores.json").read_text())
    targets = list(scores["lines"]["linear"])
    base = scores["alone"]["base"]
    places = {name: scores["sets"].index(name) for name in targets}

    def gain(found: dict[str, list[float]]) -> float:
        """Mean points on the target, to the base."""
        return fmean(found[name][place] - base[place] for name, place in places.items())

    def lost(found: dict[str, list[float]]) -> float:
        """Mean points on all other sets, to the base."""
        return fmean(
            fmean(own - before for number, (own, before) in pairs if number != places[name])
            for name in targets
            for pairs in [list(enumerate(zip(found[name], base, strict=True)))]
        )

    tuned = {name: scores["alone"][name] for name in targets}
    assert gain(tuned) > 1
    for row in OURS:
        chosen = {
            choice["target"]: choice["scores"]
            for choice in scores["choices"]
            if choice["row"] == row and choice["examples"] == 20
        }
        assert gain(chosen) > 0.8 * gain(tuned)
        assert lost(chosen) > max(lost(tuned), 0) - 0.5
    for panel in ("study.png", "fronts.png"):
        assert (work / "small" / panel).stat().st_size > 10_000
