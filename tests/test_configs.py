from __future__ import annotations

from pathlib import Path

import pytest

from embedmerge.recipe import load_recipe

CONFIGS = sorted((Path(__file__).parent.parent / "configs").glob("*.yaml"))


def test_there_are_recipes_for_the_three_modes_and_the_demo() -> None:
    assert {path.stem for path in CONFIGS} >= {"two-models", "peers", "no-fine-tune", "demo"}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_recipe_is_valid(path: Path) -> None:
    recipe = load_recipe(path)
    assert recipe.evaluation.target
    assert recipe.evaluation.general or path.stem == "no-fine-tune"
