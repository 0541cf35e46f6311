from __future__ import annotations

import pytest

from embedmerge.evaluation.significance import Difference
from embedmerge.report import wording


@pytest.mark.parametrize(
    ("value", "text", "tone"),
    [
        (None, "—", "even"),
        (Difference(1.26, 0.4, 2.0), "+1.3*", "gain"),
        (Difference(-1.26, -2.0, -0.4), "−1.3*", "loss"),
        (Difference(-1.26, -2.0, 0.0), "−1.3", "even"),
        (Difference(-0.04, -0.05, -0.03), "0.0*", "loss"),
    ],
)
def test_difference(value, text, tone):
    assert wording.difference(value) == text
    assert wording.tone(value) == tone


def test_no_score_has_a_negative_zero_or_a_hyphen():
    assert wording.points(-0.0) == wording.points(-0.04) == wording.signed(-0.0) == "0.0"
    assert wording.weight(-0.0001) == "0.000"
    assert "-" not in wording.signed(-3.21) + wording.points(-3.21) + wording.weight(-3.21)


def test_one_line_drops_escapes_and_direction_overrides():
    assert wording.one_line("a\x1b[31m\nb\u202ec\r") == "a [31m b c"


def test_references_are_those_that_some_cell_has(make_comparison):
    without = make_comparison(["base", "a", "merged"], "base", None, "merged", ["t"], [])
    assert wording.references(without) == ("base",)
    assert wording.references(without, "base") == ()
    with_both = make_comparison(["base", "a", "merged"], "base", "a", "merged", ["t"], [])
    assert wording.references(with_both) == ("base", "fine-tune")
    assert wording.references(with_both, "a") == ("base",)


def test_roles_and_names(make_comparison):
    comparison = make_comparison(["base", "docs", "peer", "merged"], "base", "docs", "merged", ["t"], [])
    names = [wording.named(comparison, model) for model in comparison.models]
    assert names == ["base", "docs (fine-tune)", "peer", "merged"]


def test_controls_are_named_beside_a_merged_model_only(make_report, make_comparison):
    comparison = make_report("controlled").comparison
    assert list(wording.controls(comparison)) == ["uniform", "cocktail", "placebo"]
    assert list(wording.controls(make_report("usual").comparison)) == ["uniform"]
    given = make_comparison(["base", "cocktail"], "base", None, None, ["t"], [])
    assert wording.controls(given) == {}
    assert wording.kind(given, "cocktail") == ""
    named_so = make_comparison(["base", "uniform", "merged"], "base", "uniform", "merged", ["t"], [])
    assert wording.controls(named_so) == {}
    assert wording.kind(named_so, "uniform") == "fine-tune"


def test_controls_are_explained(make_report):
    said = wording.explained(wording.controls(make_report("controlled").comparison))
    assert said.startswith(
        "Controls: uniform, the plain average of all sources; cocktail, LM-Cocktail's rule"
    )
    assert wording.explained({}) == ""
