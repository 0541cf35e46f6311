from __future__ import annotations

import base64
import dataclasses
import hashlib
import re
from html.parser import HTMLParser

import pytest
from lxml import html as lxml_html

from embedmerge.report import wording
from embedmerge.report.html import render_html

VOID = {"meta", "br", "wbr", "link", "img", "input", "hr"}


class _Strict(HTMLParser):
    """Checks that every element is closed where it was opened."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.open, self.seen, self.values = [], [], []

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        self.values += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.append(tag)
        self.values += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def _parsed(page):
    parser = _Strict()
    parser.feed(page)
    parser.close()
    assert parser.open == []
    return parser


def _text(element):
    return " ".join("".join(element.xpath(".//text()[not(ancestor::script or ancestor::style)]")).split())


def _rows(page, table):
    tree = lxml_html.fromstring(page)
    [element] = tree.xpath(f"//table[@id='{table}']")
    return [[_text(cell) for cell in row.xpath("./th|./td")] for row in element.xpath("./tbody/tr")]


def _require_alone(page):
    """One script, the page's own, which the page's policy names by its digest and lets load nothing."""
    parser = _parsed(page)
    assert not {"link", "img", "iframe", "object", "base", "form"} & set(parser.seen)
    for tag, name, value in parser.values:
        assert not name.startswith("on")
        assert (tag, name) != ("script", "src")
        if name in ("src", "href", "xlink:href", "action", "srcset"):
            assert value.startswith("#")
    assert not re.search(r"@import|url\((?!#)", page)
    tree = lxml_html.fromstring(page)
    [script] = tree.xpath("//script[not(@type)]")
    [policy] = tree.xpath("//meta[@http-equiv='Content-Security-Policy']/@content")
    digest = base64.b64encode(hashlib.sha256(script.text.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    return parser


def test_well_formed_and_alone(any_report):
    _require_alone(render_html(any_report))


def test_same_bytes(any_report):
    assert render_html(any_report) == render_html(any_report)


def test_awkward_names_are_shown_as_they_are(make_report):
    page = render_html(make_report("awkward"))
    tree = lxml_html.fromstring(page)
    assert _text(tree.xpath("//h1")[0]) == "<b>merge</b> a|b: *one*"
    assert [row[0] for row in _rows(page, "recall")] == [
        "<img src=x onerror=alert(2)>",
        "a|b & *c*",
        "[bold]x[/bold]",
    ]


def test_the_verdict_comes_first(compared_report):
    tree = lxml_html.fromstring(render_html(compared_report))
    paragraphs = [_text(element) for element in tree.xpath("//main//p")]
    assert paragraphs[0] == compared_report.comparison.verdict[0]


def test_comparison_cells(compared_report):
    comparison = compared_report.comparison
    references = wording.references(comparison)
    rows = _rows(render_html(compared_report), "comparison")
    assert len(rows) == len(comparison.models)
    for model, row in zip(comparison.models, rows, strict=True):
        expected = []
        for side in wording.sides(comparison):
            cell = comparison.means[side][model]
            expected.append(f"{cell.ndcg_at_10:.1f}")
            for reference in references:
                value = wording.to_reference(cell, reference)
                expected.append(f"{wording.difference(value)} {wording.interval(value)}" if value else "—")
            expected.append(f"{cell.recall_at_100:.1f}")
        assert row[1:] == expected
        assert row[0].startswith(wording.one_line(model).split("  ")[0])


def test_header_spans_match_the_rows(compared_report):
    _require_even_rows(render_html(compared_report))


def _require_even_rows(page):
    tree = lxml_html.fromstring(page)
    for table in tree.xpath("//table"):
        widths = set()
        for row in table.xpath("./tbody/tr"):
            widths.add(sum(int(cell.get("colspan", 1)) for cell in row.xpath("./th|./td")))
        first = table.xpath("./thead/tr")[0].xpath("./th")
        widths.add(sum(int(cell.get("colspan", 1)) for cell in first))
        assert len(widths) == 1, table.get("id")


def test_differences_carry_their_interval_and_mark(make_report):
    report = make_report("usual")
    tree = lxml_html.fromstring(render_html(report))
    value = report.comparison.means["target"]["merged"].to_base
    [cell] = tree.xpath("//table[@id='comparison']//tr[@class='merged']/td[2]/span")
    assert cell.get("title") == wording.evidence(value)
    assert cell.get("class") == "gain"
    assert cell.text == f"{wording.signed(value.points)}*"


def test_task_cells(compared_report):
    comparison = compared_report.comparison
    rows = [row for row in _rows(render_html(compared_report), "tasks") if len(row) > 1]
    assert len(rows) == len(comparison.tasks)
    for task, row in zip(comparison.tasks, rows, strict=True):
        scores = [f"{task.cells[model].ndcg_at_10:.1f}" for model in comparison.models]
        assert row[-1 - len(scores) :] == [*scores, f"{task.queries:,}"]


def test_weights_and_losses(make_report):
    report = make_report("usual")
    page = render_html(report)
    for (name, value), row in zip(report.weights.items(), _rows(page, "weights"), strict=True):
        assert row[0] == name
        assert row[2] == f"{value:.3f}"
        assert row[3].startswith(f"{report.weighting.losses[name]:.3f}")
    tree = lxml_html.fromstring(page)
    shares = [
        float(re.search(r"([\d.]+)%", span.get("style")).group(1))
        for span in tree.xpath("//div[@class='bar']/span")
    ]
    assert sum(shares) == pytest.approx(100, abs=0.01)
    assert shares[0] == pytest.approx(100 * report.weights["base"], abs=0.1)


def test_a_negative_weight_has_no_bar(make_report):
    report = dataclasses.replace(make_report("usual"), weights={"base": -0.5, "docs-tuned": 1.5})
    page = render_html(report)
    assert not lxml_html.fromstring(page).xpath("//div[@class='bar']")
    assert _rows(page, "weights")[0][2] == "−0.500"


def test_provenance(any_report):
    rows = _rows(render_html(any_report), "sources")
    for source, row in zip(any_report.sources, rows[:-1], strict=True):
        assert row[-1] == source.sha256
        assert row[3] == (source.license or "not stated")
    assert rows[-1][-1] == any_report.model_sha256


def test_plot_only_where_there_is_one(make_report):
    assert "<svg" in render_html(make_report("usual"))
    assert "<svg" not in render_html(make_report("target-only"))
    assert "<svg" not in render_html(make_report("no-comparison"))


def test_without_comparison_nothing_is_claimed(make_report):
    text = _text(lxml_html.fromstring(render_html(make_report("no-comparison"))))
    assert "quality was not measured" in text
    assert "recall@100" not in text.lower()


def test_accessible(any_report):
    _require_accessible(render_html(any_report))


def _require_accessible(page):
    tree = lxml_html.fromstring(page)
    assert tree.get("lang") == "en"
    assert tree.xpath("//meta[@name='viewport']")
    assert len(tree.xpath("//h1")) == 1
    assert all(cell.get("scope") for cell in tree.xpath("//th"))
    assert all(table.getparent().get("class") == "scroll" for table in tree.xpath("//table"))
    assert "prefers-color-scheme: dark" in page


def _luminance(text):
    parts = [int(text[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_contrast_of_text(make_report):
    page = render_html(make_report("usual"))
    schemes = [
        dict(re.findall(r"--(\w+): (#\w{6})", block)) for block in re.findall(r":root \{(.*?)\}", page, re.S)
    ]
    assert len(schemes) == 2
    for scheme in schemes:
        for ground in ("page", "raised", "merged"):
            for ink in ("text", "soft", "gain", "loss", "accent"):
                light, dark = sorted((_luminance(scheme[ground]), _luminance(scheme[ink])), reverse=True)
                assert (light + 0.05) / (dark + 0.05) >= 4.5, (ground, ink)


def test_the_code_on_the_page_compiles(make_report):
    [code] = lxml_html.fromstring(render_html(make_report("usual"))).xpath("//pre/code")
    compile(code.text_content(), "report", "exec")


@pytest.mark.parametrize(
    ("kind", "choice"),
    [
        ("usual", {"split": True}),
        ("awkward", {}),
        ("controlled", {"divergence": False}),
        ("many", {"divergence": False, "split": True}),
        ("no-comparison", {}),
    ],
)
def test_a_choice_is_well_formed_and_accessible(make_chosen, kind, choice):
    page = render_html(make_chosen(kind, **choice))
    parser = _require_alone(page)
    _require_even_rows(page)
    _require_accessible(page)
    ids = [value for _, name, value in parser.values if name == "id"]
    assert len(ids) == len(set(ids))


def test_candidates_with_a_divergence(make_chosen):
    report = make_chosen("controlled")
    rows = {row[0].split()[0]: row[1:] for row in _rows(render_html(report), "candidates")}
    assert list(rows) == ["base", "docs-tuned", "scipy", "uniform", "cocktail", "placebo", "chosen"]
    assert rows["base"] == ["alone", "63.4 58.1 to 68.2", "—", "0.000"]
    chosen = report.weighting.selection.candidates[-1]
    assert rows["chosen"] == [
        "base 0.670, docs-tuned 0.165, scipy 0.165",
        f"≈{chosen.target.value:.1f} {chosen.target.low:.1f} to {chosen.target.high:.1f}",
        f"+{chosen.target_to_base.value:.1f}* +2.0 to +5.0",
        f"≈{-chosen.general.value:.3f} {-chosen.general.high:.3f} to {-chosen.general.low:.3f}",
    ]
    assert rows["placebo"][0] == "a random step from the base"
    assert rows["uniform"][0] == "1/3 each"
    text = _text(lxml_html.fromstring(render_html(report)))
    assert "less is better" in text
    assert "cross-validated" in text


def test_candidates_with_guard_tasks(make_chosen):
    report = make_chosen("controlled", divergence=False, split=True)
    rows = {row[0].split()[0]: row for row in _rows(render_html(report), "candidates")}
    assert rows["chosen"][2].startswith("64.5")  # really encoded, on the half that had no say
    assert rows["docs-tuned"][-1] == "−4.3* −5.2 to −3.4"
    assert "divergence" not in _text(lxml_html.fromstring(render_html(report)))


def test_tracks_of_weights_that_are_as_good(make_chosen):
    report = make_chosen("controlled")
    page = render_html(report)
    rows = _rows(page, "as-good")
    assert [row[:3] for row in rows] == [
        ["base", "0.670", "0.50 to 0.75"],
        ["docs-tuned", "0.165", "0.05 to 0.40"],
        ["scipy", "0.165", "0.05 to 0.40"],
    ]
    [first, *_] = lxml_html.fromstring(page).xpath("//table[@id='as-good']//span[contains(@class, 'range')]")
    assert first.get("style") == "left: 50.0%; width: 25.0%"


def test_tracks_widen_with_negative_weights(make_chosen):
    report = make_chosen("no-comparison", as_good={"base": (0.5, 1.5), "docs-tuned": (-0.5, 0.5)})
    tree = lxml_html.fromstring(render_html(report))
    [first, second] = tree.xpath("//table[@id='as-good']//span[contains(@class, 'range')]")
    assert first.get("style") == "left: 50.0%; width: 50.0%"
    assert second.get("style") == "left: 0.0%; width: 50.0%"


def test_only_a_choice_has_its_section(make_report, make_chosen):
    assert "How the weights were chosen" not in render_html(make_report("usual"))
    page = render_html(make_chosen("usual"))
    assert page.count("How the weights were chosen") == 1
    assert page.count("<svg") == 2


def test_controls_are_tagged_nowhere_and_explained_once(make_report):
    text = _text(lxml_html.fromstring(render_html(make_report("controlled"))))
    assert text.count("LM-Cocktail's rule on the same examples") == 1
    assert "diamond: uniform; plus: cocktail; cross: placebo" in text
    assert "placebo" not in _text(lxml_html.fromstring(render_html(make_report("usual"))))
