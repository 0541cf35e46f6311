from __future__ import annotations

import dataclasses
import json

import pytest
from lxml import html as lxml_html

from embedmerge.report.html import render_html
from embedmerge.report.serialise import from_json, to_json


def told(page):
    return page.locator("[data-tells]")


def test_what_is_kept_of_each_query(make_asked):
    queries = make_asked("usual").queries
    assert (queries.total, len(queries.shown)) == (600, 600)
    assert [each.task for each in queries.shown[:120]] == ["torch-docs"] * 120
    for each in queries.shown:
        number = each.query.split()[-1][:-1]
        assert len(each.first_before) == len(each.first_after) == 3
        assert all(queries.documents[at].startswith(f"Document {number} ") for at in each.relevant)
        if each.after == 100:  # the relevant document is first
            assert each.first_after[0] in each.relevant
    assert max(map(len, queries.documents)) == 200


def test_a_draw_of_many_is_said(make_asked, open_page):
    report = make_asked("usual", most=50)
    assert (report.queries.total, len(report.queries.shown)) == (600, 50)
    assert len({each.task for each in report.queries.shown}) == 5
    assert report.queries == make_asked("usual", most=50).queries
    page = open_page(report)
    assert page.locator("svg.queries circle:not(.held)").count() == 50
    assert page.get_by_text("50 of 600, drawn evenly").count() == 1


def test_without_texts_ids_stand_for_them(make_asked):
    queries = make_asked("usual", texts=False).queries
    assert (queries.shown[0].query, queries.shown[0].relevant) == ("q0", ())
    assert queries.documents[0][0] == "d"


def test_it_survives_json(make_asked):
    report = make_asked("usual", most=40)
    read = from_json(json.loads(json.dumps(to_json(report))))
    assert read.queries == report.queries
    assert read.comparison.flips[0].worst[0].query == report.comparison.flips[0].worst[0].query


def test_a_point_tells_its_query(make_asked, open_page):
    report = make_asked("usual")
    page = open_page(report)
    circle = page.locator("svg.queries circle.worse").first
    circle.scroll_into_view_if_needed()
    box = circle.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    heading = told(page).locator("h3").inner_text()
    assert heading.startswith("what is <b>query</b> ")
    assert told(page).locator("li").count() == 6
    assert told(page).locator("b").count() == 0  # texts are texts
    [shown] = [
        each
        for each in report.queries.shown
        if each.query == heading and told(page).inner_text().count(f"{each.task}: {each.before:.1f} to")
    ]
    assert shown.after < shown.before


def test_keyboard_goes_from_the_worst(make_asked, open_page):
    report = make_asked("usual")
    page = open_page(report)
    page.locator("svg.queries").focus()
    page.keyboard.press("ArrowRight")
    lost = [each.after - each.before for each in report.queries.shown]
    worst = report.queries.shown[lost.index(min(lost))]
    assert told(page).locator("h3").inner_text() == worst.query
    page.keyboard.press("End")
    assert "+" in told(page).locator("p span").inner_text()
    assert told(page).get_attribute("aria-live") == "polite"


def test_a_tap_on_a_phone(make_asked, open_page):
    page = open_page(make_asked("many"), width=375, touch=True)
    circle = page.locator("svg.queries circle.better").first
    circle.scroll_into_view_if_needed()
    box = circle.bounding_box()
    page.touchscreen.tap(box["x"] + 2, box["y"] + 2)
    assert told(page).locator("h3").count() == 1
    assert page.evaluate("document.documentElement.scrollWidth") <= 375


def test_one_task_alone(make_asked, open_page):
    page = open_page(make_asked("usual"))
    page.get_by_label("Task", exact=True).select_option(label="scifact")
    shown = page.locator("svg.queries circle[visibility=visible]:not(.held)")
    assert shown.count() == 120
    page.locator("svg.queries").focus()
    page.keyboard.press("Home")
    assert told(page).locator("p").first.inner_text().startswith("scifact: ")


def test_flips_as_tables(make_asked, open_page):
    report = make_asked("usual")
    [flips] = report.comparison.flips
    page = lxml_html.fromstring(render_html(report))
    rows = [
        [cell.text for cell in row.xpath("./th|./td")] for row in page.xpath("//table[@id='flips']/tbody/tr")
    ]
    assert [(row[0], row[2].strip()) for row in rows] == [
        (side, f"{count.negative:,}") for side, count in flips.sides.items()
    ]
    worst = page.xpath("//table[@id='worst']/tbody/tr")
    assert len(worst) == len(flips.worst) == 20
    assert worst[0].xpath("./th")[0].text_content() == flips.worst[0].query
    opened = open_page(report)
    opened.locator("summary", has_text="20 queries that lost most").click()
    opened.get_by_role("button", name="query", exact=True).click()
    first = opened.locator("#worst tbody th").all_inner_texts()
    assert len(first) == 20


@pytest.mark.parametrize("kind", ["no-comparison", "usual"])
def test_nothing_without_queries(make_report, kind):
    assert "Query by query" not in render_html(dataclasses.replace(make_report(kind), queries=None))
