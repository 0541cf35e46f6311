from __future__ import annotations

import dataclasses
import io

import pytest
from rich.cells import cell_len
from rich.console import Console

from embedmerge.merging.coefficients import Coefficients
from embedmerge.report import wording
from embedmerge.report.terminal import comparison_table, print_comparison, print_report, print_selection
from embedmerge.weighting.strategy import Choice

WIDTHS = (80, 120)


def _printed(show, what, width, **options):
    console = Console(file=io.StringIO(), width=width, **options)
    show(what, console)
    return console.file.getvalue()


def _numbers(comparison):
    """Everything the tables must show, as text."""
    for cells in comparison.means.values():
        for cell in cells.values():
            yield wording.points(cell.ndcg_at_10)
            yield from (wording.difference(value) for value in (cell.to_base, cell.to_fine_tune) if value)
    for task in comparison.tasks:
        yield f"{task.queries:,}"
        yield from (wording.points(cell.ndcg_at_10) for cell in task.cells.values())


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_is_cut_and_nothing_too_long(any_report, width):
    text = _printed(print_report, any_report, width)
    assert max(cell_len(line) for line in text.splitlines()) <= width
    assert "…" not in text
    if any_report.comparison:
        tokens = set(text.split())
        assert set(_numbers(any_report.comparison)) <= tokens


@pytest.mark.parametrize("width", [40, 60, *WIDTHS])
@pytest.mark.parametrize("models", range(1, 9))
@pytest.mark.parametrize("tasks", [1, 2, 12])
def test_any_size_fits(make_comparison, width, models, tasks):
    names = [f"bge-base-domain-number-{place}-of-many" for place in range(models)]
    comparison = make_comparison(
        names,
        names[0],
        names[1] if models > 2 else None,
        names[-1] if models > 1 else None,
        [f"target-task-{place}" for place in range(tasks // 2)],
        [f"general-task-{place}" for place in range(tasks - tasks // 2)],
    )
    text = _printed(print_comparison, comparison, width)
    assert max(cell_len(line) for line in text.splitlines()) <= width
    assert "…" not in text
    assert set(_numbers(comparison)) <= set(text.split())


def _row(text, start):
    return next(line for line in text.splitlines() if line.startswith(start)).split()


def test_the_row_of_the_merged_model(make_report):
    comparison = make_report("usual").comparison
    text = _printed(print_report, make_report("usual"), 100)
    target, general = (comparison.means[side]["merged"] for side in ("target", "general"))
    assert _row(text, "merged ") == [
        "merged",
        *(
            part
            for cell in (target, general)
            for part in (
                wording.points(cell.ndcg_at_10),
                wording.difference(cell.to_base),
                wording.difference(cell.to_fine_tune),
            )
        ),
    ]


def test_real_differences_are_marked_without_colour(make_report):
    text = _printed(print_report, make_report("usual"), 80, no_color=True)
    merged = make_report("usual").comparison.means
    assert merged["target"]["merged"].to_base.is_real
    assert not merged["general"]["merged"].to_base.is_real
    row = _row(text, "merged ")
    assert row[2].endswith("*")
    assert not row[5].endswith("*")
    assert wording.LEGEND in text


def test_gain_is_green_and_loss_is_red(make_report):
    console = Console(
        file=io.StringIO(), width=100, force_terminal=True, color_system="standard", legacy_windows=False
    )
    print_report(make_report("usual"), console)
    text = console.file.getvalue()
    comparison = make_report("usual").comparison
    gain = wording.difference(comparison.means["target"]["docs-tuned"].to_base)
    loss = wording.difference(comparison.means["general"]["docs-tuned"].to_base)
    assert f"\x1b[1;32m{gain}" in text
    assert f"\x1b[1;31m{loss}" in text


def test_evaluate_without_any_role(make_comparison):
    comparison = make_comparison(["a", "b"], None, None, None, ["t"], ["g"])
    text = _printed(print_comparison, comparison, 80)
    assert "vs" not in text.split()
    assert wording.LEGEND not in text
    assert "Verdict" not in text
    assert _row(text, "a ") == [
        "a",
        *(wording.points(comparison.means[side]["a"].ndcg_at_10) for side in ("target", "general")),
    ]


def test_two_models_need_one_table_of_tasks(make_comparison):
    tasks = {"targets": ["legal"], "generals": ["news", "code"]}
    two, three = (
        make_comparison([*names, "tuned"], "base", "tuned", None, **tasks)
        for names in (["base"], ["base", "peer"])
    )
    said = _printed(print_comparison, two, 100)
    assert said.count("task (nDCG@10)") == 1
    assert [line.split()[1] for line in said.splitlines() if line.startswith(("legal", "news", "code"))] == [
        f"{task.queries:,}" for task in two.tasks
    ]
    assert _printed(print_comparison, three, 100).count("task (nDCG@10)") == 2


def test_one_side_only(make_report):
    text = _printed(print_report, make_report("target-only"), 80)
    assert "general" not in text.split("Verdict")[0]


def test_names_are_text_and_never_markup(make_report):
    text = _printed(print_report, make_report("awkward"), 200)
    assert "[bold]x[/bold]" in text
    assert "\x1b" not in text
    assert "<script>alert(1)</script> (fine-tune)" in text


def test_without_comparison(make_report):
    text = _printed(print_report, make_report("no-comparison"), 80)
    assert "names no task" in text
    assert "0.690" in text


def test_negative_and_zero_weights(make_report):
    report = dataclasses.replace(make_report("no-comparison"), weights={"base": -0.25, "docs-tuned": 0.0})
    assert "−0.250" in _printed(print_report, report, 80)
    report = dataclasses.replace(report, weights={"base": 0.0, "docs-tuned": 0.0})
    assert "█" not in _printed(print_report, report, 80)


def test_a_terminal_without_unicode(make_report):
    raw = io.BytesIO()
    console = Console(file=io.TextIOWrapper(raw, encoding="cp1252", newline="\n"), width=80)
    print_report(make_report("awkward"), console)
    console.file.flush()
    text = raw.getvalue().decode("cp1252")
    comparison = make_report("awkward").comparison
    assert wording.difference(comparison.means["target"]["base"].to_fine_tune).replace("−", "-") in text
    assert "####" in text


def test_table_for_other_layouts(make_report):
    comparison = make_report("many").comparison
    console = Console(file=io.StringIO(), width=200)
    console.print(comparison_table(comparison, width=80))
    assert max(len(line.rstrip()) for line in console.file.getvalue().splitlines()) <= 80


def _choice(selection, losses=True):
    names = list(selection.as_good)
    means = {name: 1.5 - 0.1 * place for place, name in enumerate(names)} if losses else {}
    weights = selection.candidates[-1].weights
    return Choice(Coefficients(weights), means, dict.fromkeys(means, 0.123), selection)


def _names(number):
    return ("base", *(f"bge-base-expert-number-{place}" for place in range(1, number)))


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("sources", [2, 5, 9])
@pytest.mark.parametrize("divergence", [True, False])
def test_a_choice_fits_with_every_number(make_selection, width, sources, divergence):
    selection = make_selection(_names(sources), divergence=divergence)
    text = _printed(print_selection, _choice(selection), width)
    assert max(cell_len(line) for line in text.splitlines()) <= width
    assert "…" not in text
    words = set(text.split())
    for candidate in selection.candidates:
        mark = "" if candidate.exact else "≈"
        assert f"{mark}{candidate.target.value:.1f}" in words
        general = candidate.general.value
        assert mark + (f"{-general + 0.0:.3f}" if divergence else f"{general:.1f}") in words
    for weight in selection.candidates[-1].weights.values():
        assert f"{weight:.3f}" in words
    assert "0.05 to 0.40" in text


def test_candidates_in_one_table_at_80_columns(make_selection):
    for divergence in (True, False):
        text = _printed(print_selection, _choice(make_selection(divergence=divergence)), 80)
        assert text.count("candidate") - text.count("candidates") == 1


def test_a_choice_says_what_is_as_good_and_how_it_was_made(make_selection):
    selection = make_selection()
    text = " ".join(_printed(print_selection, _choice(selection), 120).split())
    assert "docs-tuned 0.330 0.05 to 0.40 1.400 ± 0.123" in text
    assert "Strategy front took the best nDCG@10 on 64 examples" in text
    assert "cross-validated" in text
    assert "0.31 points worse than expected on the target" in text
    assert "Notes • Any weight of docs-tuned" in text


def test_a_choice_without_a_selection_is_weights_and_losses():
    choice = Choice(Coefficients({"base": 0.25, "legal": 0.75}), {"base": 1.5, "legal": 1.1})
    lines = [line.split() for line in _printed(print_selection, choice, 80).splitlines()]
    assert lines == [
        ["source", "weight", "loss"],
        ["base", "0.250", "1.500", "████"],
        ["legal", "0.750", "1.100", "█" * 12],
    ]
    given = Choice(Coefficients({"base": 0.25, "legal": 0.75}))
    assert _printed(print_selection, given, 80).split() == [
        "base",
        "0.250",
        "█" * 8,
        "legal",
        "0.750",
        "█" * 24,
    ]


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("kind", ["usual", "awkward", "controlled", "no-comparison"])
def test_a_report_with_a_choice(make_chosen, kind, width):
    report = make_chosen(kind)
    text = _printed(print_report, report, width)
    assert max(cell_len(line) for line in text.splitlines()) <= width
    assert "0.05 to 0.40" in text
    assert "Strategy front took" in text
    assert "Any weight of docs-tuned" in text
    assert ("candidate" in text) == (report.comparison is None)


def test_a_choice_on_a_terminal_without_unicode(make_selection):
    raw = io.BytesIO()
    console = Console(file=io.TextIOWrapper(raw, encoding="ascii", newline="\n"), width=80)
    print_selection(_choice(make_selection()), console)
    console.file.flush()
    text = raw.getvalue().decode("ascii")
    assert "~66.8" in text
    assert "?" not in text


def test_controls_are_explained_below_the_tables(make_report):
    text = " ".join(_printed(print_report, make_report("controlled"), 80).split())
    assert "placebo, the base moved as far in a random direction." in text
    assert "placebo" not in _printed(print_report, make_report("usual"), 80)


def _answer(text):
    """Cells of the table that says where the merged model is better, by the row's name."""
    lines = text.splitlines()
    start = next(
        at for at, line in enumerate(lines) if line.split()[:4] == ["task", "(nDCG@10)", "base", "merged"]
    )
    end = next((at for at in range(start, len(lines)) if lines[at].startswith("task (nDCG@10)  queries")), -1)
    return {line.split("  ")[0]: line.split() for line in lines[start:end] if line.strip()}


def test_one_table_says_where_it_is_better_and_whether_that_is_real(make_report):
    comparison = make_report("controlled").comparison
    rows = _answer(_printed(print_report, make_report("controlled"), 100))
    for task in comparison.tasks:
        base, merged = (task.cells[model] for model in ("base", "merged"))
        assert rows[task.task] == [
            task.task,
            wording.points(base.ndcg_at_10),
            wording.points(merged.ndcg_at_10),
            wording.difference(merged.to_base),
            *wording.interval(merged.to_base).split(),
            f"{merged.to_base.wins:,}/{merged.to_base.losses:,}",
            wording.difference(merged.to_fine_tune),
        ]
    means = comparison.means["general"]["merged"]
    assert rows["mean of 2"][5] == wording.difference(means.to_base)
    assert "mean of 1" not in rows


@pytest.mark.parametrize("width", [80, 100])
def test_the_answer_is_one_table(make_report, width):
    text = _printed(print_report, make_report("many"), width)
    head = next(
        line for line in text.splitlines() if line.split()[:4] == ["task", "(nDCG@10)", "base", "merged"]
    )
    assert head.split()[4:] == ["base", "interval", "worse", "fine-tune"]
    assert wording.HOLM.split()[0] in text


def test_corrected_tests_are_explained_where_there_are_some(make_report):
    report = make_report("usual")
    assert "Holm" in _printed(print_report, report, 100)
    tasks = tuple(
        dataclasses.replace(
            task,
            cells={
                model: dataclasses.replace(cell, to_base=None, to_fine_tune=None)
                for model, cell in task.cells.items()
            },
        )
        for task in report.comparison.tasks
    )
    untested = dataclasses.replace(report, comparison=dataclasses.replace(report.comparison, tasks=tasks))
    assert "Holm" not in _printed(print_report, untested, 100)
