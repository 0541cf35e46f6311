from __future__ import annotations

import dataclasses
import json
import re

import numpy as np
import pytest
import yaml

from embedmerge.recipe import parse_recipe
from embedmerge.report.html import render_html
from embedmerge.report.sliders import BY_BLOCK, yaml_key

THREE = ("base", "docs-tuned", "scipy")


@pytest.fixture
def three(make_chosen):
    """A report over three sources."""
    return make_chosen("controlled")


def shown(page, name):
    return page.locator(f"[data-shows={name}]").inner_text()


def number(text):
    return float(text.replace("\N{MINUS SIGN}", "-"))


def weights(page):
    return [float(text) for text in page.locator("#explore output").all_inner_texts()]


def put(page, source, weight):
    page.locator(f"#weight-{source}").evaluate(
        "(input, value) => { input.value = value; input.dispatchEvent(new Event('input')); }", 100 * weight
    )


def test_numbers_follow_the_sliders(open_page, three):
    page, surface = open_page(three), three.weighting.selection.surface
    base = surface.at([1, 0, 0])
    random = np.random.default_rng(0)
    for source, weight in zip(random.integers(3, size=12), random.uniform(size=12).round(3), strict=True):
        put(page, int(source), float(weight))
        now = weights(page)
        assert now[source] == pytest.approx(weight, abs=1e-3)
        assert sum(now) == pytest.approx(1, abs=1e-9)
        expected = surface.at(now)
        assert number(shown(page, "target")) == pytest.approx(expected.target, abs=0.06)
        assert number(shown(page, "general")) == pytest.approx(-expected.general, abs=0.0012)
        gained = number(shown(page, "target-base"))
        assert gained == pytest.approx(expected.target - base.target, abs=0.11)
        if abs(expected.margin) > 0.002:
            assert shown(page, "floor") == f"{'above' if expected.margin > 0 else 'below'} the floor"


def test_others_keep_their_proportion(open_page, three):
    page = open_page(three)
    put(page, 0, 0.2)
    put(page, 1, 0.6)  # base and scipy share 0.4 as they shared 0.6
    assert weights(page) == pytest.approx([0.133, 0.6, 0.267], abs=0.0011)
    put(page, 1, 1.0)
    put(page, 1, 0.6)  # still the same slider, which has not forgotten
    assert weights(page) == pytest.approx([0.133, 0.6, 0.267], abs=0.0011)
    page.get_by_role("button", name="Base", exact=True).click()
    put(page, 0, 0.5)
    assert weights(page) == [0.5, 0.25, 0.25]


def test_buttons(open_page, three):
    page, surface = open_page(three), three.weighting.selection.surface
    page.get_by_role("button", name="Fine-tune", exact=True).click()
    assert weights(page) == [0, 1, 0]
    assert number(shown(page, "target")) == pytest.approx(surface.at([0, 1, 0]).target, abs=0.05)
    assert page.locator("[data-shows=general-chosen]").get_attribute("class") == "down"
    page.get_by_role("button", name="Base", exact=True).click()
    assert (weights(page), shown(page, "target-base")) == ([1, 0, 0], "0.0")
    page.get_by_role("button", name="Chosen weights").click()
    assert weights(page) == [0.67, 0.165, 0.165]
    assert (shown(page, "target-chosen"), shown(page, "general-chosen")) == ("0.0", "0.000")


def test_the_dot_is_where_the_numbers_are(open_page, make_chosen):
    for report in (make_chosen("controlled"), make_chosen("controlled", divergence=False)):
        page, surface = open_page(report), report.weighting.selection.surface
        put(page, 1, 0.4)
        page.get_by_role("button", name="Base", exact=True).click()
        [dot] = page.locator(".trade-off .dot").evaluate_all(
            "dots => dots.map(dot => [dot.cx.baseVal.value, dot.cy.baseVal.value])"
        )
        base = page.locator("#choice-model-0 use").evaluate(
            "use => [use.x.baseVal.value, use.y.baseVal.value]"
        )
        expected = report.weighting.selection.candidates[0]
        assert surface.at([1, 0, 0]).target == pytest.approx(expected.target.value)
        assert dot == pytest.approx(base, abs=0.2)


def test_the_copied_recipe(open_page, make_chosen):
    report = make_chosen("awkward")
    page, names = open_page(report), [source.name for source in report.sources]
    put(page, 0, 0.3)
    now = weights(page)
    page.get_by_role("button", name="Copy as recipe").click()
    page.get_by_text("Copied.").wait_for()
    copied = yaml.safe_load(page.evaluate("navigator.clipboard.readText()"))
    assert list(copied) == ["weighting"]
    base, *experts = report.sources
    sources = {
        "base": {"path": base.location, "name": base.name},
        "experts": [{"path": each.location, "name": each.name} for each in experts],
    }
    recipe = parse_recipe({**sources, **copied})
    assert list(recipe.weighting.weights) == names
    assert list(recipe.weighting.weights.values()) == pytest.approx(now, abs=1e-3)
    assert sum(recipe.weighting.weights.values()) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize(
    "name", ["a b", "no", "1e3", "{x}: #y", "\x7f\x85\u2028\n", "\N{GRINNING FACE}", "x" * 500]
)
def test_names_as_keys(name):
    line = f"{yaml_key(name)}: 1"
    assert "\n" not in line
    assert yaml.safe_load(line) == {name: 1}


def test_keyboard_alone(open_page, three):
    page = open_page(three)
    page.locator("#weight-1").focus()
    before = weights(page)[1]
    page.keyboard.press("ArrowRight")
    assert weights(page)[1] == pytest.approx(before + 0.01, abs=1e-3)
    page.keyboard.press("End")
    assert weights(page) == [0, 1, 0]
    said = page.locator("#weight-1").get_attribute("aria-valuetext")
    assert re.fullmatch(r"1\.000; target [\d.]+, divergence [\d.]+, below the floor", said)
    page.get_by_role("status").get_by_text("below the floor").wait_for()
    for _ in range(2):  # past the next slider, to the first button
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert weights(page) == [0.67, 0.165, 0.165]
    assert page.get_by_label("docs-tuned", exact=True).get_attribute("type") == "range"


def test_sources_that_the_lattice_leaves_out(open_page, make_chosen):
    report = make_chosen("many")
    page, surface = open_page(report), report.weighting.selection.surface
    assert len(surface.names) == 4
    assert page.locator("#explore input:disabled").count() == len(surface.left_out) == 2
    put(page, 0, 0.5)
    now = dict(zip(report.weights, weights(page), strict=True))
    assert {name for name, weight in now.items() if not weight} == set(surface.left_out)
    assert page.get_by_text("so the sliders come only near them").count() == 1


@pytest.mark.parametrize("kind", ["many", "awkward"])
def test_a_phone_scrolls_one_way(open_page, make_chosen, kind):
    page = open_page(make_chosen(kind), width=375)
    assert page.evaluate("document.documentElement.scrollWidth") <= 375


def test_no_surface_no_sliders(make_chosen, make_report):
    for report in (make_chosen("controlled", surface=None), make_report("usual")):
        assert 'id="surface-data"' not in render_html(report)


def test_weights_by_block_are_said(three):
    settings = {**three.weighting.parameters, "by_tensor": {"scipy": [0.1, 0.3]}}
    blocks = dataclasses.replace(three, weighting=dataclasses.replace(three.weighting, parameters=settings))
    assert BY_BLOCK in render_html(blocks)
    assert BY_BLOCK not in render_html(three)


def test_data_cannot_end_the_script(make_chosen):
    page = render_html(make_chosen("awkward"))
    [data] = re.findall(r'id="surface-data">(.*?)</script>', page, re.DOTALL)
    assert "<script>alert(1)</script>" in json.loads(data)["keys"][1]
