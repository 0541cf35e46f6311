from __future__ import annotations

from dataclasses import dataclass, field

from embedmerge.evaluation.flips import ANSWERED, BEGINNING, WORST, FlipCount, beginning, flips
from embedmerge.evaluation.paired import paired_tasks
from embedmerge.evaluation.scores import TaskScores

LAW = {"base": [100, 63, 50, 0, 43], "merged": [0, 43, 50, 100, 63]}
WIKI = {"base": [100] * 30, "merged": [float(place) for place in range(30)]}


@dataclass
class Texts:
    queries: dict[str, str] = field(default_factory=lambda: {"q0": "who may\nsue"})
    documents: dict[str, str] = field(default_factory=lambda: {"d1": "a court", "d2": 500 * "x", "d3": "law"})
    relevant: dict[str, dict[str, int]] = field(default_factory=lambda: {"q0": {"d1": 1, "d3": 2}})


def scores(task: str, side: str, values: list[float], ranked: dict[str, list[str]]) -> TaskScores:
    per_query = {f"q{row}": float(value) for row, value in enumerate(values)}
    return TaskScores(task, "test", side, len(values), 0.0, 0.0, per_query, ranked)


def tasks():
    firsts = {"base": {"q0": ["d1", "d2"]}, "merged": {"q0": ["d2", "d1"], "q1": []}}
    return paired_tasks(
        {
            model: [
                scores("law", "target", LAW[model], firsts[model]),
                scores("wiki", "general", WIKI[model], {}),
            ]
            for model in ("base", "merged")
        }
    )


def test_flips_are_counted_by_task_and_side() -> None:
    found = flips(tasks(), "merged", "base")
    assert found.sides == {
        "target": FlipCount(5, 2, 2, 40.0, 40.0),
        "general": FlipCount(30, 30, 0, 100.0, 0.0),
    }
    assert list(found.tasks) == list(found.sides.values())


def test_the_other_way_round_the_signs_are_turned() -> None:
    there, back = flips(tasks(), "merged", "base"), flips(tasks(), "base", "merged")
    for side in there.sides:
        assert there.sides[side].negative == back.sides[side].positive
        assert there.sides[side].positive == back.sides[side].negative


def test_the_worst_twenty_lost_most() -> None:
    found = flips(tasks(), "merged", "base").worst
    assert len(found) == WORST
    lost = [flip.before - flip.after for flip in found]
    assert lost == sorted(lost, reverse=True)
    assert [(flip.task, flip.query_id) for flip in found[:3]] == [
        ("law", "q0"),
        ("wiki", "q0"),
        ("wiki", "q1"),
    ]
    assert all(flip.before >= ANSWERED > flip.after for flip in found)


def test_a_flip_shows_what_each_model_ranked_first() -> None:
    asked = []

    def texts(task: str, split: str) -> Texts:
        asked.append((task, split))
        return Texts()

    (flip,) = flips(tasks(), "merged", "base", worst=1, texts=texts).worst
    assert asked == [("law", "test")]  # texts of a task that has nothing to show are not loaded
    assert flip.query == "who may sue"
    assert flip.first_before == ("d1", "a court")
    assert flip.first_after == ("d2", 199 * "x" + "…")
    assert flip.relevant == ("d3", "law")


def test_without_texts_and_lists_ids_are_all_there_is() -> None:
    first, second = flips(tasks(), "merged", "base", worst=2).worst
    assert (first.query, first.first_before, first.first_after) == ("", ("d1", ""), ("d2", ""))
    assert (second.first_before, second.first_after, second.relevant) == (None, None, None)


def test_an_id_without_a_text_is_shown_alone() -> None:
    nothing = Texts({}, {}, {})
    (flip,) = flips(tasks(), "merged", "base", worst=1, texts=lambda *_: nothing).worst
    assert (flip.query, flip.first_before, flip.relevant) == ("", ("d1", ""), None)


def test_the_beginning_of_a_text_is_one_line_without_a_space_in_it_too() -> None:
    assert beginning("a\tb\n c") == "a b c"
    assert len(beginning(100_000 * "字")) == BEGINNING
