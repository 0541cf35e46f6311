from __future__ import annotations

import re
from pathlib import Path

import pytest

from embedmerge.merging.modifiers import HELP
from embedmerge.merging.registry import methods
from embedmerge.recipe import Method

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def rows(page):
    """First cell of every table row -> the row."""
    lines = (ROOT / "docs" / page).read_text().splitlines()
    return {match[1]: line for line in lines if (match := re.match(r"\| `([\w.]+)`", line))}


def test_every_method_is_on_its_page_with_its_parameters_defaults_and_source():
    listed = rows("methods.md")
    for spec in methods().values():
        assert spec.summary in listed[spec.name]
        assert spec.citation in listed[spec.name]
        for name, parameter in spec.parameters.items():
            default = parameter.default
            shown = str(default).lower() if isinstance(default, bool | str) else f"{default:g}"
            assert f"{name} {shown}" in listed[spec.name]


def test_every_modifier_is_on_that_page():
    text = (ROOT / "docs" / "methods.md").read_text()
    assert all(f"`{name}`" in text for name in HELP)


def test_every_key_of_a_recipes_method_is_on_its_page():
    text = (ROOT / "docs" / "recipe.md").read_text()
    for key in Method.model_fields:
        assert f"`method.{key}`" in text or key == "name"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_what_a_page_links_to_is_there(page):
    for target in re.findall(r"\]\(([^)#]+)", page.read_text()):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target
