from __future__ import annotations

import re

import pytest
from lxml import etree

from embedmerge.report import figure, marks, trade_off

SVG = "{http://www.w3.org/2000/svg}"


def _names(number):
    return ("base", *(f"expert-{place}" for place in range(1, number)))


def _spots(svg, selection):
    tree = etree.fromstring(svg.encode())
    spots = {}
    for place, candidate in enumerate(selection.candidates):
        [use] = tree.xpath(f"//*[@id='choice-model-{place}']")[0].iter(f"{SVG}use")
        spots[candidate.name] = (float(use.get("x")), -float(use.get("y")))
    return spots


@pytest.mark.parametrize("divergence", [True, False])
def test_right_is_better_and_up_is_better(make_selection, divergence):
    selection = make_selection(_names(4), divergence=divergence)
    spots = _spots(trade_off.front_svg(selection), selection)
    general = {candidate.name: candidate.general.value for candidate in selection.candidates}
    target = {candidate.name: candidate.target.value for candidate in selection.candidates}
    assert sorted(spots, key=lambda name: spots[name][0]) == sorted(general, key=general.get)
    assert sorted(spots, key=lambda name: spots[name][1]) == sorted(target, key=target.get)


def test_a_divergence_is_drawn_by_its_root(make_selection):
    selection = make_selection(_names(3))
    spots = _spots(trade_off.front_svg(selection), selection)
    roots = {candidate.name: (-candidate.general.value) ** 0.5 for candidate in selection.candidates}

    def off(name):
        return spots["base"][0] - spots[name][0]

    assert off("cocktail") / off("chosen") == pytest.approx(roots["cocktail"] / roots["chosen"], rel=1e-3)


def test_the_axis_says_nats_without_minus_signs(make_selection):
    tree = etree.fromstring(trade_off.front_svg(make_selection(), floor=0.05).encode())
    texts = ["".join(text.itertext()) for text in tree.iter(f"{SVG}text")]
    assert "divergence from the base, nats; less →" in texts
    assert {"0", "0.1", "0.2"} <= set(texts)
    assert not [text for text in texts if re.match(r"[-−]\d", text)]
    points = trade_off.front_svg(make_selection(divergence=False))
    assert "general, mean nDCG@10 →" in points
    assert "divergence" not in points


def test_the_floor_is_drawn_where_it_is_known(make_selection):
    assert ">floor<" in trade_off.front_svg(make_selection(), floor=0.05)
    assert ">floor<" not in trade_off.front_svg(make_selection())


@pytest.mark.parametrize("sources", [2, 5, 9])
def test_labels_keep_clear_of_each_other(make_selection, monkeypatch, sources):
    placed = []
    best = marks._best

    def recorded(choices, frame, boxes, lines):
        placed.append(best(choices, frame, boxes, lines))
        assert not any(placed[-1].shared(box) for box in boxes[-len(placed) + 1 :][: len(placed) - 1])
        return placed[-1]

    monkeypatch.setattr(marks, "_best", recorded)
    trade_off.front_svg(make_selection(_names(sources)), 0.05)
    assert len(placed) == sources + 4


def test_read_aloud(make_selection):
    selection = make_selection(("base", "<docs> & co"))
    svg = trade_off.front_svg(selection, 0.05, "<docs> & co")
    tree = etree.fromstring(svg.encode())
    assert tree.get("role") == "img"
    assert "<docs> & co: target 69.5, divergence from the base in nats 0.288" in tree.get("aria-label")
    assert "chosen: target ≈66.8" in tree.get("aria-label")
    [group] = tree.xpath("//*[@id='choice-model-0']")
    assert group.find(f"{SVG}title").text.startswith("base: target 63.4")


def test_same_bytes_small_and_without_colours_of_the_page(make_selection):
    selection = make_selection(_names(9))
    svg = trade_off.front_svg(selection, 0.05)
    assert svg == trade_off.front_svg(selection, 0.05)
    assert len(svg.encode()) < 40_000
    assert figure.INK not in svg
    assert "#000000" not in svg
    assert "#ffffff" not in svg


def test_every_id_and_reference_has_the_prefix(make_selection):
    svg = trade_off.front_svg(make_selection(), 0.05)
    ids = set(re.findall(r' id="([^"]+)"', svg))
    references = set(re.findall(r'href="#([^"]+)"', svg)) | set(re.findall(r"url\(#([^)]+)\)", svg))
    assert all(name.startswith("choice-") for name in ids)
    assert references <= ids


def test_a_choice_of_the_base_is_drawn(make_selection):
    selection = make_selection(front=make_selection().front[-1:])
    assert "<svg" in trade_off.front_svg(selection, 0.0)
