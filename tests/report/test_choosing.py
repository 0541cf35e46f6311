from __future__ import annotations

import dataclasses

import pytest

from embedmerge.evaluation.significance import Difference
from embedmerge.report import choosing
from embedmerge.weighting.selection import Confirmation


def test_in_brief(make_selection):
    assert choosing.in_brief(make_selection()) == (
        "Strategy front took the best nDCG@10 on 64 examples of the target domain among mixtures above a "
        "floor: a divergence of at most 0.05 nats from the base, by the base's ranking of embedmerge's own "
        "guard text (512 texts)."
    )
    by_loss = make_selection(divergence=False, split=True, objective="loss", examples=1)
    assert choosing.in_brief(by_loss) == (
        "Strategy front took the lowest InfoNCE loss on 1 example of the target domain among mixtures above "
        "a floor: at most 0.5 standard errors below the base, by nDCG@10 on scifact:dev (512 queries)."
    )


def test_checked(make_selection):
    assert "other half" in choosing.checked(make_selection(split=True))
    assert "cross-validated" in choosing.checked(make_selection())


@pytest.mark.parametrize(
    ("found", "changes", "said"),
    [
        (
            Confirmation(1, 6, -0.2, 0.01, 0.0002),
            {"divergence": False},
            "Really merged and encoded, the choice is 0.20 points better than expected on the target and "
            "0.01 points worse than expected on the general side; its embeddings are 0.0002 off (mean cosine "
            "distance). In all 6 models encoded the texts.",
        ),
        (
            Confirmation(1, 6, 0.0, -1e-9, 1e-8),
            {},
            "the choice is as expected; its embeddings are less than 0.0001 off",
        ),
        (Confirmation(3, 12, 0.0, 0.003, 0.01), {}, "in 3 rounds, the approximation mended in between"),
        (Confirmation(1, 6, 0.0, 0.003, 0.01), {}, "as expected on the target and 0.0030 nats worse"),
        (
            Confirmation(1, 6, 0.012, 0.0, 0.01),
            {"objective": "loss"},
            "0.0120 nats worse than expected on the target",
        ),
    ],
)
def test_confirmed(make_selection, found, changes, said):
    assert said in choosing.confirmed(make_selection(confirmation=found, **changes))


def test_a_divergence_is_a_positive_number_whose_interval_runs_upwards(make_selection):
    selection = make_selection()
    chosen = selection.candidates[-1].general
    assert chosen.value < 0
    row = choosing.rows(selection)[-1]
    assert row.general == f"≈{-chosen.value:.3f}"
    low, high = map(float, row.general_interval.split(" to "))
    assert 0 < low < high
    assert row.general_to_base is None


def test_points_keep_their_paired_difference(make_selection):
    selection = make_selection(divergence=False, split=True)
    row, chosen = choosing.rows(selection)[-1], selection.candidates[-1]
    assert row.general == f"{chosen.general.value:.1f}"
    paired = chosen.general_to_base
    assert row.general_to_base == Difference(paired.value, paired.low, paired.high)


def test_kinds(make_selection):
    selection = make_selection(("base", "docs", "chosen", "peer"))
    kinds = [row.kind for row in choosing.rows(selection, "docs")]
    assert kinds == ["base", "fine-tune", "", "", "uniform", "cocktail", "placebo", "merged"]


def test_floor_of_text_is_the_budget(make_chosen):
    assert choosing.floor_of(make_chosen().weighting) == 0.05


def test_floor_of_tasks_is_so_many_standard_errors_below_the_base(make_chosen):
    record = make_chosen(divergence=False).weighting
    base, chosen = record.selection.candidates[0], record.selection.candidates[-1]
    error = (chosen.general_to_base.high - chosen.general_to_base.low) / 3.92
    assert choosing.floor_of(record) == pytest.approx(base.general.value - 0.5 * error)


def test_an_unknown_floor_is_none(make_report, make_chosen):
    assert choosing.floor_of(make_report().weighting) is None
    bare = dataclasses.replace(make_chosen().weighting, parameters={})
    assert choosing.floor_of(bare) is None
