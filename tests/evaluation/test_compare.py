from __future__ import annotations

import numpy as np
import pytest

from embedmerge.evaluation.compare import Side, TaskScores, compare


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
