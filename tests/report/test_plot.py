from __future__ import annotations

import re

import pytest
from lxml import etree

from embedmerge.evaluation.compare import Cell
from embedmerge.report import figure, marks, plot
from embedmerge.report.marks import Mark

SVG = "{http://www.w3.org/2000/svg}"


def _tree(comparison):
    return etree.fromstring(plot.tradeoff_svg(comparison).encode())


def _kinds_with_both_sides():
    return ["usual", "no-fine-tune", "many", "awkward", "controlled"]


@pytest.mark.parametrize("kind", _kinds_with_both_sides())
def test_one_labelled_point_per_model(make_report, kind):
    comparison = make_report(kind).comparison
    tree = _tree(comparison)
    labels = ["".join(text.itertext()) for text in tree.iter(f"{SVG}text")]
    for place, model in enumerate(comparison.models):
        [group] = tree.xpath(f"//*[@id='model-{place}']")
        assert len(list(group.iter(f"{SVG}use"))) == 1
        cell = comparison.means["target"][model]
        assert f"target {cell.ndcg_at_10:.1f}" in group.find(f"{SVG}title").text
        start = plot.wording.one_line(model)[:10]
        assert sum(label.startswith(start) for label in labels) >= 1
    assert len([label for label in labels if not re.fullmatch(r"[\d.−-]+", label)]) == (
        len(comparison.models) + 2
    )


def test_points_lie_where_the_scores_say(make_report):
    comparison = make_report("usual").comparison
    tree = _tree(comparison)
    spots = {}
    for place, model in enumerate(comparison.models):
        [use] = tree.xpath(f"//*[@id='model-{place}']")[0].iter(f"{SVG}use")
        spots[model] = (float(use.get("x")), float(use.get("y")))
    general = {model: cell.ndcg_at_10 for model, cell in comparison.means["general"].items()}
    target = {model: cell.ndcg_at_10 for model, cell in comparison.means["target"].items()}
    assert sorted(spots, key=lambda model: spots[model][0]) == sorted(general, key=general.get)
    assert sorted(spots, key=lambda model: -spots[model][1]) == sorted(target, key=target.get)


@pytest.mark.parametrize("kind", _kinds_with_both_sides())
def test_labels_keep_clear_of_each_other(make_report, monkeypatch, kind):
    taken = []
    best = marks._best

    def recorded(choices, frame, boxes, lines):
        box = best(choices, frame, boxes, lines)
        taken.append((box, list(boxes), frame))
        return box

    monkeypatch.setattr(marks, "_best", recorded)
    plot.tradeoff_svg(make_report(kind).comparison)
    for box, others, frame in taken:
        assert box.within(frame)
        assert not any(box.shared(other) for other in others)


def test_labels_of_equal_models_are_told_apart(make_comparison, monkeypatch):
    comparison = make_comparison(["base", "same"], "base", None, None, ["t"], ["g"])
    for means in comparison.means.values():
        means["same"] = means["base"]
    placed = []
    best = marks._best
    monkeypatch.setattr(marks, "_best", lambda *args: placed.append(best(*args)) or placed[-1])
    plot.tradeoff_svg(comparison)
    assert not placed[0].shared(placed[1])


def test_the_page_decides_the_colours(make_report):
    svg = plot.tradeoff_svg(make_report("usual").comparison)
    assert figure.INK not in svg
    assert svg.count("currentColor") > 10
    assert "#000000" not in svg
    assert "#ffffff" not in svg
    assert "<style" not in svg


def test_same_bytes_and_small(make_report):
    comparison = make_report("many").comparison
    svg = plot.tradeoff_svg(comparison)
    assert svg == plot.tradeoff_svg(comparison)
    assert len(svg.encode()) < 30_000
    assert "Date" not in svg
    assert "Matplotlib" not in svg


def test_read_aloud(make_report):
    tree = _tree(make_report("awkward").comparison)
    assert tree.get("role") == "img"
    assert "<script>alert(1)</script>: target" in tree.get("aria-label")
    assert tree.find(f"{SVG}title").text
    assert not list(tree.iter(f"{SVG}script"))


def test_names_are_no_formulas(make_report):
    svg = plot.tradeoff_svg(make_report("awkward").comparison)
    assert "$x_1$ &amp;" in svg


def test_front_holds_the_points_no_other_beats():
    points = [
        Mark(name, "", x, y)
        for name, x, y in [("a", 1, 9), ("b", 5, 8), ("c", 4, 7), ("d", 6, 2), ("e", 6, 1), ("f", 0, 9)]
    ]
    assert [point.name for point in plot._front(points)] == ["a", "b", "d"]


def test_shapes_differ():
    looks = marks.LOOKS.values()
    assert len({look.marker for look in looks}) == len({look.colour for look in looks}) == len(looks)


@pytest.mark.parametrize("colour", [look.colour for look in marks.LOOKS.values()])
def test_colours_show_on_both_pages(colour):
    def luminance(text):
        parts = [int(text[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        red, green, blue = (
            part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
        )
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    def contrast(one, other):
        light, dark = sorted((luminance(one), luminance(other)), reverse=True)
        return (light + 0.05) / (dark + 0.05)

    assert contrast(colour, "#ffffff") >= 3
    assert contrast(colour, "#14171b") >= 3


def test_controls_have_shapes_of_their_own(make_report):
    kinds = {mark.name: mark.kind for mark in plot._marks(make_report("controlled").comparison)}
    assert kinds == {
        "base": "base",
        "docs-tuned": "fine-tune",
        "scipy": "",
        "uniform": "uniform",
        "cocktail": "cocktail",
        "placebo": "placebo",
        "merged": "merged",
    }


def test_nothing_to_draw(make_report):
    assert not plot.has_tradeoff(None)
    one_sided = make_report("target-only").comparison
    assert not plot.has_tradeoff(one_sided)
    with pytest.raises(ValueError, match="no trade-off"):
        plot.tradeoff_svg(one_sided)


def test_a_single_model_is_no_tradeoff(make_comparison):
    comparison = make_comparison(["base"], None, None, None, ["t"], ["g"])
    assert isinstance(comparison.means["target"]["base"], Cell)
    assert not plot.has_tradeoff(comparison)


def test_png(make_report, tmp_path):
    comparison = make_report("usual").comparison
    plot.tradeoff_png(comparison, tmp_path / "a.png")
    plot.tradeoff_png(comparison, tmp_path / "b.png")
    data = (tmp_path / "a.png").read_bytes()
    assert data.startswith(b"\x89PNG")
    assert data == (tmp_path / "b.png").read_bytes()
