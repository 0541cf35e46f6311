from __future__ import annotations

import json

import numpy as np
import pytest

from embedmerge.evaluation.compare import Comparison, compare
from embedmerge.evaluation.scores import Side, TaskScores
from embedmerge.evaluation.significance import RANDOMISATIONS
from embedmerge.report.document import Report, WeightingRecord
from embedmerge.report.serialise import from_json, to_json


def scores(task: str, side: Side, values: dict[str, float]) -> TaskScores:
    mean = float(np.mean(list(values.values())))
    return TaskScores(task, "test", side, len(values), mean, mean, values)


def shifted(values: dict[str, float], by: float) -> dict[str, float]:
    return {query: value + by for query, value in values.items()}


QUERIES = {f"q{row}": float(40 + row % 20) for row in range(100)}
NOISE = {query: value + (9 if row % 2 else -9) for row, (query, value) in enumerate(QUERIES.items())}


def three_models(merged_target: float, merged_general: float) -> dict[str, list[TaskScores]]:
    return {
        "base": [scores("law", "target", QUERIES), scores("wiki", "general", QUERIES)],
        "legal": [
            scores("law", "target", shifted(QUERIES, 10)),
            scores("wiki", "general", shifted(QUERIES, -4)),
        ],
        "merged": [
            scores("law", "target", shifted(QUERIES, merged_target)),
            scores("wiki", "general", shifted(QUERIES, merged_general)),
        ],
    }


def test_means_differences_and_gain_kept() -> None:
    found = compare(three_models(8, -1), base="base", fine_tune="legal", merged="merged")
    merged = found.means["target"]["merged"]
    assert merged.to_base.points == pytest.approx(8)
    assert merged.to_fine_tune.points == pytest.approx(-2)
    assert found.means["general"]["merged"].to_fine_tune.points == pytest.approx(3)
    assert found.gain_kept == pytest.approx(80)
    assert found.means["target"]["base"].to_base is None
    assert [task.task for task in found.tasks] == ["law", "wiki"]


def test_noise_is_not_called_real_and_a_shift_is() -> None:
    noisy = {"base": [scores("law", "target", QUERIES)], "merged": [scores("law", "target", NOISE)]}
    difference = compare(noisy, base="base", merged="merged").means["target"]["merged"].to_base
    assert not difference.is_real
    assert difference.low < 0 < difference.high
    sure = compare(three_models(8, -1), base="base", merged="merged").means["target"]["merged"].to_base
    assert sure.is_real


def test_the_interval_covers_the_mean_about_as_often_as_it_says() -> None:
    random, covered = np.random.default_rng(0), 0
    for _ in range(60):
        deltas = random.normal(1.0, 10, size=80)
        values = {
            query: value + delta for (query, value), delta in zip(QUERIES.items(), deltas, strict=False)
        }
        base = {query: QUERIES[query] for query in values}
        pair = {"base": [scores("law", "target", base)], "merged": [scores("law", "target", values)]}
        found = compare(pair, base="base").means["target"]["merged"].to_base
        covered += found.low <= 1.0 <= found.high
    assert 51 <= covered <= 60


def test_the_same_scores_give_the_same_interval() -> None:
    first, second = (compare(three_models(3, 1), base="base", merged="merged") for _ in range(2))
    assert first == second


@pytest.mark.parametrize(
    ("target", "general", "says"),
    [
        (12, 0, "The merged model beats the fine-tune on its own ground, and wins back all"),
        (5, 0, "does not beat the fine-tune on the target, where it is 5.0 points short"),
        (10, 0, "cannot be told from the fine-tune"),
        (5, -2, "wins back 50 % of the 4.0 general points"),
        (5, -5, "wins back nothing of the 4.0 general points"),
    ],
)
def test_the_verdict_says_it_plainly(target: float, general: float, says: str) -> None:
    found = compare(three_models(target, general), base="base", fine_tune="legal", merged="merged")
    assert says in found.verdict[0]


def test_without_a_gain_there_is_no_share_of_it() -> None:
    same = three_models(0, 0)
    same["legal"] = same["base"]
    assert compare(same, base="base", fine_tune="legal", merged="merged").gain_kept is None


def test_without_roles_there_are_only_scores() -> None:
    found = compare({"a": [scores("wiki", "general", QUERIES)]})
    assert found.means["general"]["a"].to_base is None
    assert "target" not in found.means
    assert found.verdict == ()


def several_tasks(tasks: int, queries: int = 120, seed: int = 0) -> dict[str, list[TaskScores]]:
    """Base, fine-tune and merged model on a target task and general ones, with noise."""
    random = np.random.default_rng(seed)
    found: dict[str, list[TaskScores]] = {"base": [], "legal": [], "merged": []}
    for place in range(tasks):
        side: Side = "general" if place else "target"
        level = random.uniform(20, 80, queries)
        for model, shift in {"base": 0, "legal": -6 if place else 8, "merged": -1 if place else 6}.items():
            values = np.clip(level + shift + random.normal(0, 6, queries), 0, 100).round(4)
            ids = [f"q{row}" for row in range(queries)]
            found[model].append(scores(f"task{place}", side, dict(zip(ids, map(float, values), strict=True))))
    return found


ROLES = {"base": "base", "fine_tune": "legal", "merged": "merged"}


def test_p_is_corrected_over_the_tasks_and_not_in_means() -> None:
    found = compare(several_tasks(5), **ROLES)
    for model in ("legal", "merged"):
        cells = [task.cells[model].to_base for task in found.tasks]
        ordered = sorted(cells, key=lambda cell: cell.p)
        assert ordered[0].p_holm == pytest.approx(5 * ordered[0].p)
        assert all(cell.p <= cell.p_holm <= 1 for cell in cells)
        assert found.means["general"][model].to_base.p_holm is None
    sure = found.tasks[0].cells["legal"].to_base
    assert sure.p == pytest.approx(1 / (RANDOMISATIONS + 1))
    assert sure.is_significant and sure.is_real


def test_the_mean_of_tasks_is_surer_than_any_of_them() -> None:
    found = compare(several_tasks(9, queries=40), **ROLES)
    alone = [task.cells["merged"].to_base.p for task in found.tasks if task.side == "general"]
    assert found.means["general"]["merged"].to_base.p < np.median(alone)


def test_wins_ties_and_losses_are_counted() -> None:
    base = {"q1": 10.0, "q2": 63.0931, "q3": 50.0, "q4": 0.0}
    own = {"q1": 20.0, "q2": 63.0931, "q3": 43.0677, "q4": 0.0}
    pair = {"base": [scores("law", "target", base)], "merged": [scores("law", "target", own)]}
    cell = compare(pair, base="base").tasks[0].cells["merged"].to_base
    assert (cell.wins, cell.ties, cell.losses) == (1, 2, 1)
    assert cell.p == 1  # two queries with a difference: no signing is further out


def test_a_query_that_a_model_has_no_result_for_counts_nothing() -> None:
    fewer = {query: value for query, value in QUERIES.items() if query != "q19"}
    pair = {"base": [scores("law", "target", QUERIES)], "merged": [scores("law", "target", fewer)]}
    there = compare(pair, base="base").tasks[0].cells["merged"].to_base
    back = compare(pair, base="merged").tasks[0].cells["base"].to_base
    assert there.points == -back.points == pytest.approx(-QUERIES["q19"] / 100)
    assert (there.ties, there.losses) == (99, 1)


def test_a_tasks_numbers_do_not_depend_on_the_others() -> None:
    many = several_tasks(4)
    alone = compare({model: [own[2]] for model, own in many.items()}, **ROLES)
    among = compare(many, **ROLES).tasks[2].cells["merged"].to_base
    found = alone.tasks[0].cells["merged"].to_base
    assert (found.points, found.low, found.high, found.p) == (among.points, among.low, among.high, among.p)


def test_every_model_has_its_share_of_the_gain_with_an_interval() -> None:
    found = compare(several_tasks(4), **ROLES)
    kept = found.retention["merged"].gain_kept
    assert found.gain_kept == kept.value
    assert kept.low < 75 < kept.high
    assert found.retention["legal"].gain_kept.value == 100
    assert found.retention["legal"].gain_kept.low == found.retention["legal"].gain_kept.high == 100
    assert "base" not in found.retention
    assert f"({kept.low:.0f} to {kept.high:.0f})" in " ".join(found.verdict)


def test_the_interval_of_a_share_covers_it_about_as_often_as_it_says() -> None:
    covered = 0
    for seed in range(60):
        kept = compare(several_tasks(1, queries=80, seed=seed), **ROLES).retention["merged"].gain_kept
        covered += kept.low <= 75 <= kept.high
    assert 51 <= covered <= 60


def test_forgetting_is_what_general_retrieval_lost() -> None:
    found = compare(several_tasks(4), **ROLES)
    for model in ("legal", "merged"):
        to_base, own = found.means["general"][model].to_base, found.retention[model]
        assert own.forgotten.value == pytest.approx(-to_base.points)
        assert (own.forgotten.low, own.forgotten.high) == pytest.approx((-to_base.high, -to_base.low))
    assert 60 < found.retention["merged"].won_back.value < 100
    assert found.retention["legal"].won_back.value == 0


def test_a_share_of_an_uncertain_gain_has_no_interval() -> None:
    def noisy(shift: float) -> list[TaskScores]:
        return [scores("law", "target", shifted(NOISE, shift))]

    models = {"base": [scores("law", "target", QUERIES)], "legal": noisy(1), "merged": noisy(0.5)}
    found = compare(models, **ROLES)
    assert not found.means["target"]["legal"].to_base.is_real
    kept = found.retention["merged"].gain_kept
    assert (kept.value, kept.low, kept.high) == (50, None, None)
    assert "50 %, a share of a gain that is not certain itself." in " ".join(found.verdict)


def test_flips_against_both_references() -> None:
    found = compare(several_tasks(3), **ROLES)
    assert [(flips.model, flips.reference) for flips in found.flips] == [
        ("legal", "base"),
        ("merged", "base"),
        ("base", "legal"),
        ("merged", "legal"),
    ]
    by_pair = {(flips.model, flips.reference): flips for flips in found.flips}
    assert by_pair["merged", "base"].worst and by_pair["legal", "base"].worst
    assert not by_pair["base", "legal"].worst
    count = by_pair["merged", "base"].sides["general"]
    assert f"{count.negative} of 240 general queries ({count.negative_rate:.1f} %)" in found.verdict[-1]


def test_where_nothing_was_merged_the_worst_of_all_are_shown() -> None:
    found = compare(several_tasks(3), base="base")
    assert all(flips.worst for flips in found.flips)


def reported(comparison: Comparison) -> Report:
    return Report(
        tool="embedmerge",
        title="law",
        method="linear",
        method_parameters={},
        sources=(),
        weighting=WeightingRecord("uniform", {}, 0, {}, {}),
        weights={},
        comparison=comparison,
        encoding={},
        notes=(),
        model_sha256="",
        versions={},
    )


def test_a_report_is_read_back_with_all_of_it() -> None:
    report = reported(compare(several_tasks(3), **ROLES))
    assert from_json(json.loads(json.dumps(to_json(report), allow_nan=False))) == report


def test_a_report_from_before_there_were_tests_is_read_too() -> None:
    data = to_json(reported(compare(several_tasks(3), **ROLES)))
    for newer in ("retention", "flips"):
        del data["comparison"][newer]
    for task in data["comparison"]["tasks"]:
        for newer in ("p", "p_holm", "wins", "ties", "losses"):
            del task["cells"]["merged"]["to_base"][newer]
    found = from_json(data).comparison
    assert (found.retention, found.flips) == ({}, ())
    old = found.tasks[0].cells["merged"].to_base
    assert old.is_real and not old.is_significant
