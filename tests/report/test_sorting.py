from __future__ import annotations

import pytest


def column(page, table, place):
    return page.locator(f"#{table} tbody tr:not(.side)").evaluate_all(
        "(rows, place) => rows.map(row => [...row.cells].at(place).textContent.trim())", place
    )


def orders(page, table):
    return page.locator(f"#{table} thead th").evaluate_all(
        "headers => headers.map(header => header.getAttribute('aria-sort'))"
    )


def numbers(texts):
    return [float(text.replace(",", "").replace("\N{MINUS SIGN}", "-")) for text in texts]


@pytest.fixture
def many(open_page, make_report):
    """A page with two target tasks and ten general ones."""
    return open_page(make_report("many"))


def test_a_click_sorts_each_side_on_its_own(many):
    before = column(many, "tasks", 0)
    many.get_by_role("button", name="queries").click()
    found = numbers(column(many, "tasks", -1))
    assert found[:2] == sorted(found[:2], reverse=True)
    assert found[2:] == sorted(found[2:], reverse=True)
    assert [*set(orders(many, "tasks")[:-1]), orders(many, "tasks")[-1]] == ["none", "descending"]
    many.get_by_role("button", name="queries").click()
    found = numbers(column(many, "tasks", -1))
    assert found[2:] == sorted(found[2:])
    many.get_by_role("button", name="queries").click()
    assert column(many, "tasks", 0) == before
    assert set(orders(many, "tasks")) == {"none"}


def test_names_are_sorted_from_a_by_keyboard(many):
    many.get_by_role("button", name="task", exact=True).first.focus()
    many.keyboard.press("Enter")
    names = column(many, "tasks", 0)
    assert names[2:] == sorted(names[2:])
    assert orders(many, "tasks")[0] == "ascending"


def test_differences_are_sorted_as_numbers(many, make_report):
    comparison = make_report("many").comparison
    many.get_by_role("button", name="merged vs base").click()
    shown = column(many, "tasks", 0)
    gained = {task.task: task.cells["merged"].to_base.points for task in comparison.tasks}
    found = [gained[name] for name in shown]
    assert found[2:] == sorted(found[2:], reverse=True)


def test_a_sort_is_stable_and_dashes_come_last(open_page, make_report):
    page = open_page(make_report("usual"))
    rows = [["b", "2"], ["a", "2"], ["c", "\N{EM DASH}"], ["d", "10"]]
    found = page.evaluate(
        """rows => {
            const table = document.querySelector("#tasks");
            const body = table.tBodies[1];
            const old = [...body.rows].slice(1);
            old.forEach((row, at) => {
                row.cells[0].textContent = rows[at][0];
                [...row.cells].at(-1).textContent = rows[at][1];
            });
            const button = [...table.tHead.rows[0].cells].at(-1).querySelector("button");
            const seen = () => [...body.rows].slice(1).map(row => row.cells[0].textContent);
            button.click();
            const first = seen();
            button.click();
            return [first, seen()];
        }""",
        rows,
    )
    assert found == [["d", "b", "a", "c"], ["b", "a", "d", "c"]]


def test_marks_and_their_evidence(many, make_report):
    cell = next(
        task.cells["merged"].to_base
        for task in make_report("many").comparison.tasks
        if task.cells["merged"].to_base.is_significant
    )
    [shown] = many.locator(f"#tasks [title*='{cell.wins:,} queries, worse on {cell.losses:,}']").all()
    assert shown.inner_text().endswith("*\N{DAGGER}")
