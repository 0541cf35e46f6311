from __future__ import annotations

import dataclasses
import io

import pytest
from lxml import html as lxml_html
from rich.console import Console

from embedmerge.report.blocks import block_weights
from embedmerge.report.html import render_html
from embedmerge.report.terminal import print_report

LEARNT = {
    "docs-tuned": {"block 0": 0.1, "block 10": 0.9, "block 2": 0.5, "embeddings.*": 0.2, "*": 0.4},
}


@pytest.fixture
def by_block(make_chosen):
    """A report whose weights were learnt block by block, in a varying number of settings."""

    def make(settings=LEARNT, kind="usual"):
        report = make_chosen(kind)
        parameters = {**report.weighting.parameters, "by_tensor": settings}
        return dataclasses.replace(
            report, weighting=dataclasses.replace(report.weighting, parameters=parameters)
        )

    return make


def test_rows_from_the_embeddings_up(by_block):
    weights = block_weights(by_block())
    assert weights.labels == ("embeddings", "block 0", "block 2", "block 10", "all else")
    assert weights.sources == ("base", "docs-tuned")
    assert weights.rows == ((0.8, 0.2), (0.9, 0.1), (0.5, 0.5), (0.1, 0.9), (0.6, 0.4))


def test_an_expert_with_one_weight_has_it_everywhere(by_block):
    report = by_block(kind="controlled")
    weights = block_weights(report)
    assert {row[2] for row in weights.rows} == {report.weights["scipy"]}
    assert weights.rows[0][0] == pytest.approx(1 - 0.2 - report.weights["scipy"])


def test_a_selector_that_one_expert_lacks(by_block):
    weights = block_weights(
        by_block({"docs-tuned": {"block 0": 0.1, "*": 0.2}, "scipy": {"*": 0.3}}, "controlled")
    )
    assert weights.rows == ((None, 0.1, None), (0.5, 0.2, 0.3))


def test_one_weight_for_all_or_lists_have_no_map(make_chosen, by_block):
    assert block_weights(make_chosen("usual")) is None
    assert block_weights(by_block({"docs-tuned": [0.1, 0.9]})) is None
    assert 'id="blocks"' not in render_html(by_block({"docs-tuned": [0.1, 0.9]}))


def test_on_the_page_and_in_the_terminal(by_block):
    tree = lxml_html.fromstring(render_html(by_block()))
    rows = [
        [cell.text_content() for cell in row.xpath("./th|./td")]
        for row in tree.xpath("//table[@id='blocks']/tbody/tr")
    ]
    assert rows[1] == ["block 0", "0.900", "0.100"]
    [style] = set(tree.xpath("//table[@id='blocks']/tbody/tr[2]/td[2]/@style"))
    assert style == "--heat: 5.0%"
    console = Console(file=io.StringIO(), width=80)
    print_report(by_block(), console)
    [line] = [line for line in console.file.getvalue().splitlines() if line.startswith("block 10")]
    assert line.split() == ["block", "10", "0.100", "0.900"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_numbers_can_be_read_on_their_colour(by_block, open_page, scheme):
    page = open_page(by_block(), scheme=scheme)
    colours = page.locator("td.heat").evaluate_all(
        """cells => {
            const context = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
            const seen = colour => {
                context.fillStyle = colour;
                context.fillRect(0, 0, 1, 1);
                return [...context.getImageData(0, 0, 1, 1).data].slice(0, 3);
            };
            return cells.map(cell => {
                const style = getComputedStyle(cell);
                return [seen(style.color), seen(style.backgroundColor)];
            });
        }"""
    )

    def luminance(colour):
        linear = [part / 3294 if part <= 10 else ((part / 255 + 0.055) / 1.055) ** 2.4 for part in colour]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    for pair in colours:
        dark, light = sorted(map(luminance, pair))
        assert (light + 0.05) / (dark + 0.05) >= 4.5
