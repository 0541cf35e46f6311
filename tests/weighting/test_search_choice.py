"""Searches of tiny models, really merged and encoded."""

from __future__ import annotations

import json
import sys
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import pytest
from found_examples import write_examples_for
from searching import evidence_of, merges, write_mute, write_part_way, write_texts

from embedmerge.errors import EmbedmergeError
from embedmerge.merging.registry import method as find_method
from embedmerge.statistics.text import load_texts
from embedmerge.weighting import groundwork
from embedmerge.weighting.front import Front
from embedmerge.weighting.guard import Guard
from embedmerge.weighting.search.evolution import Evolution
from embedmerge.weighting.search.marks import Marks
from embedmerge.weighting.search.quadratic import Quadratics
from embedmerge.weighting.search.study import Study
from embedmerge.weighting.search.tried import Tried
from embedmerge.weighting.simplex import spread, undominated
from embedmerge.weighting.strategy import Choice, MethodChoice, choice_from_json, choice_to_json
from embedmerge.weighting.survey import Survey

if TYPE_CHECKING:
    from pathlib import Path

    from embedmerge.weighting.search.searched import Searched

NAMES = ["base", "far", "peer"]
SEARCHES = {"cma": Evolution, "optuna": Study, "map": Quadratics}
SCALED = {"scale": (0.5, 3.0)}


@pytest.fixture(scope="module")
def goal(make_expert, base: Path) -> Path:
    """The model whose first ranks are the examples' answers, so that nothing retrieves better."""
    return make_expert("goal", base=base, seed=1, scale=0.1)


@pytest.fixture(scope="module")
def short(tmp_path_factory, base: Path, goal: Path) -> Path:
    """Half of the way to the goal."""
    return write_part_way(tmp_path_factory.mktemp("sources") / "short", base, goal, 0.5)


@pytest.fixture(scope="module")
def far(tmp_path_factory, base: Path, goal: Path) -> Path:
    """As far again beyond the goal as from the base to it, and half as far again."""
    return write_part_way(tmp_path_factory.mktemp("sources") / "far", base, goal, 1.4)


@pytest.fixture(scope="module")
def settings(tmp_path_factory, goal: Path) -> dict[str, object]:
    folder = tmp_path_factory.mktemp("examples")
    text = write_texts(folder / "guard.txt", 16)
    return {
        "examples": str(write_examples_for(goal, folder / "few.jsonl", 16)),
        "guard": Guard(text=str(text), budget=5),
        "objective": "loss",
    }


def evidence(settings: dict[str, object], *folders: Path, **given: object):
    return evidence_of(folders, str(settings["examples"]), **given)  # type: ignore[arg-type]


def records(journal: Path) -> list[dict]:
    return [json.loads(line) for line in journal.read_text().splitlines()[1:]]


def weight_of(choice: Choice, name: str) -> float:
    return choice.coefficients.weights[name]


@pytest.mark.parametrize("search", SEARCHES)
def test_the_planted_weight_is_found(settings, base: Path, far: Path, search: str) -> None:
    strategy = SEARCHES[search](**settings, trials=10, evaluation="true")
    seen = evidence(settings, base, far)
    choice = strategy.choose(seen)
    assert weight_of(choice, "far") == pytest.approx(1 / 1.4, abs=0.1)
    assert choice.parameters is None
    selection = choice.selection
    assert selection is not None
    assert all(candidate.exact for candidate in selection.candidates)
    assert selection.confirmation.encodes <= 2 + 10
    assert len(merges(seen)) <= 10 + 3  # besides: uniform and by losses, and the placebo
    assert choice_from_json(choice_to_json(choice)) == choice


@pytest.mark.parametrize("search", SEARCHES)
def test_the_planted_scale_is_found(settings, base: Path, short: Path, search: str) -> None:
    strategy = SEARCHES[search](**settings, trials=13, space=SCALED)
    choice = strategy.choose(evidence(settings, base, short, method=MethodChoice("linear")))
    assert choice.parameters is not None
    # Half of the way, times its weight, times the scale.
    assert weight_of(choice, "short") * choice.parameters["scale"] / 2 == pytest.approx(1, abs=0.2)


def test_truth_and_surrogate_agree_where_the_method_is_affine(settings, base: Path, far: Path) -> None:
    chosen = {
        kind: Evolution(**settings, trials=10, evaluation=kind).choose(evidence(settings, base, far))
        for kind in ("true", "surrogate", "auto")
    }
    assert chosen["auto"] == chosen["surrogate"]
    assert weight_of(chosen["true"], "far") == pytest.approx(weight_of(chosen["surrogate"], "far"), abs=0.1)
    front = Front(**settings).choose(evidence(settings, base, far))
    assert weight_of(chosen["surrogate"], "far") == pytest.approx(weight_of(front, "far"), abs=0.1)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory, settings, base: Path, short: Path):
    """Gives, for each kind, a search by an expert and a parameter, its choice, journal and merges."""
    kinds = {
        "cma": Evolution(**settings, space=SCALED, trials=7),
        "tpe": Study(**settings, space=SCALED, trials=7),
        "map": Quadratics(**settings, space=SCALED, trials=10),
    }

    @cache
    def run(kind: str) -> tuple[Searched, Choice, bytes, list[str]]:
        journal = tmp_path_factory.mktemp("journals") / "search.journal"
        seen = evidence(settings, base, short, journal=journal)
        return kinds[kind], kinds[kind].choose(seen), journal.read_bytes(), merges(seen)

    return run


@pytest.mark.parametrize(
    ("kind", "lines", "extra"),
    [("cma", 0, 10), ("cma", 3, 100), ("cma", 5, 0), ("tpe", 3, 100), ("map", 7, 40)],
)
def test_a_killed_search_goes_on_and_ends_in_the_same_choice(
    uninterrupted, settings, base: Path, short: Path, tmp_path: Path, kind: str, lines: int, extra: int
) -> None:
    strategy, choice, content, before = uninterrupted(kind)
    split = content.splitlines(keepends=True)
    journal = tmp_path / "search.journal"
    journal.write_bytes(b"".join(split[: lines + 1]) + split[lines + 1][:extra])
    seen = evidence(settings, base, short, journal=journal)
    assert strategy.choose(seen) == choice
    assert merges(seen) == before[lines:]
    assert journal.read_bytes() == content


def test_two_workers_find_what_one_finds(uninterrupted, settings, base: Path, short: Path) -> None:
    strategy, choice, _, _ = uninterrupted("tpe")
    both = strategy.model_copy(update={"workers": 2})
    assert both.choose(evidence(settings, base, short)) == choice


def test_more_trials_go_on_from_the_journal_and_other_settings_do_not(
    uninterrupted, settings, base: Path, short: Path, peer: Path, tmp_path: Path
) -> None:
    strategy, _, content, _ = uninterrupted("cma")
    journal = tmp_path / "own.journal"
    journal.write_bytes(content)
    more = strategy.model_copy(update={"trials": 9, "journal": str(journal)})
    seen = evidence(settings, base, short)
    more.choose(seen)
    assert len(records(journal)) == 9
    assert len(merges(seen)) <= 2 + 3
    others = [
        (strategy.model_copy(update={"seed": 1}), evidence(settings, base, short, journal=journal)),
        (
            strategy.model_copy(update={"space": {"scale": (0.5, 2.0)}}),
            evidence(settings, base, short, journal=journal),
        ),
        (strategy, evidence(settings, base, peer, journal=journal)),
        (strategy, evidence(settings, base, short, journal=journal, method=MethodChoice("task_arithmetic"))),
    ]
    for other, shown in others:
        with pytest.raises(EmbedmergeError, match=r"own\.journal: not this search's journal"):
            other.choose(shown)
        assert merges(shown) == []


def test_ties_is_searched_within_its_range_and_written_out_whole(
    settings, base: Path, far: Path, peer: Path, tmp_path: Path
) -> None:
    space = {"density": (0.3, 0.7), "lines": (0.5, 1.0)}
    journal = tmp_path / "ties.journal"
    method = MethodChoice("ties", {"agg": "sum", "scope": "tensor"})
    strategy = Study(**settings, space=space, trials=7)
    choice = strategy.choose(evidence(settings, base, far, peer, method=method, journal=journal))
    assert choice.parameters is not None
    assert choice.parameters.keys() == {"agg", "scope", "density", "lines"}
    assert choice.parameters["agg"] == "sum"
    tried = records(journal)
    assert len(tried) == 7
    for record in tried:
        assert record["parameters"].keys() == space.keys()
        assert all(low <= record["parameters"][name] <= high for name, (low, high) in space.items())
    # The best of all mixtures in the journal, by their losses.
    best = max(tried, key=lambda record: np.mean(record["objective"]["target"]))
    assert list(choice.coefficients.weights.values()) == best["weights"]
    assert {name: choice.parameters[name] for name in space} == best["parameters"]
    assert choice.selection is not None
    plain = {candidate.name: candidate for candidate in choice.selection.candidates}
    front = Front(**settings).choose(evidence(settings, base, far, peer))
    assert front.selection is not None
    for candidate in front.selection.candidates:
        if candidate.name in ("base", "far", "peer"):  # as they are, whatever the method
            assert plain[candidate.name].target.value == pytest.approx(candidate.target.value, abs=1e-3)


def test_nsga2_gives_what_nothing_it_tried_dominates(
    settings, base: Path, goal: Path, peer: Path, tmp_path: Path
) -> None:
    journal = tmp_path / "front.journal"
    strategy = Study(**settings, sampler="nsga2", trials=10, evaluation="true")
    choice = strategy.choose(evidence(settings, base, goal, peer, journal=journal))
    assert choice.selection is not None
    shown = {(point.target, point.general) for point in choice.selection.front}
    base_row = choice.selection.candidates[0]
    tried = [
        (np.mean(record["reported"]["target"]), np.mean(record["reported"]["general"]))
        for record in records(journal)
    ] + [(base_row.target.value, base_row.general.value)]
    target, general = np.array(tried).T
    wanted = {(target[place], general[place]) for place in undominated(target, general)}
    np.testing.assert_allclose(sorted(shown), sorted(wanted), atol=1e-9)
    assert len(shown) > 1


def test_the_floor_holds_and_folds_choose_among_what_was_tried(
    settings, base: Path, goal: Path, tmp_path: Path
) -> None:
    budget = 0.05  # what going half of the way costs is less, all of it more
    guarded = {**settings, "guard": settings["guard"].model_copy(update={"budget": budget})}
    strategy = Quadratics(**guarded, trials=10)
    seen = evidence(guarded, base, goal, journal=tmp_path / "floor.journal")
    search = Tried(strategy, seen)
    chosen = search.confirmed(search.judge(search.everything))
    losses = {
        record["weights"][1]: (
            np.mean(record["objective"]["target"]),
            np.mean(record["objective"]["general"]),
        )
        for record in records(tmp_path / "floor.journal")
    }
    above = {weight: target for weight, (target, general) in losses.items() if general >= -budget}
    assert 0 < len(above) < len(losses)
    assert chosen.weights[1] == max(above, key=above.__getitem__)
    before = len(merges(seen))
    tried = {
        tuple(values)
        for values in search.options(search.judge(search.everything), chosen).reported.target.values
    }
    for fold in search.folds:
        assert tuple(search.picked(search.judge(fold.choosing)).target.values[0]) in tried
    assert len(merges(seen)) == before


def test_a_search_sees_only_the_half_that_is_for_choosing(
    settings, base: Path, goal: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(groundwork, "SPLIT_FROM", 10)
    strategy = Evolution(**settings, evaluation="true", trials=6)
    search = Tried(strategy, evidence(settings, base, goal, journal=tmp_path / "half.journal"))
    assert search.split
    rows = search.choosing[0]
    assert len(rows) == 8
    own = max(
        records(tmp_path / "half.journal"),
        key=lambda record: np.array(record["objective"]["target"])[rows].mean(),
    )
    assert search.confirmed(search.judge(search.choosing)).weights.tolist() == own["weights"]


@pytest.mark.parametrize("kind", ["tasks", "text"])
def test_margins_agree_with_the_guard(
    settings, base: Path, goal: Path, peer: Path, general_collection: Path, kind: str
) -> None:
    guards = {
        "tasks": Guard(tasks=(f"{general_collection}:dev",), floor=0.1),
        "text": settings["guard"].model_copy(update={"budget": 0.05}),
    }
    strategy = Evolution(**{**settings, "guard": guards[kind]})
    survey = Survey(strategy, evidence(settings, base, goal, peer))
    judge = survey.judge(survey.everything)
    points = spread(3)[::7]
    quality = survey.landscape.quality(points, survey.objective)
    marks = Marks.of(judge, quality)
    of_base = survey.landscape.quality(survey.corners[:1], survey.objective)
    np.testing.assert_array_equal(marks.above, guards[kind].margins(quality.general, of_base.general) >= 0)
    assert 0 < marks.above.sum() < len(points)
    assert marks.above[marks.best]
    assert marks.target[marks.best] == marks.target[marks.above].max()


def test_where_all_experts_are_lost_nothing_is_merged(settings, base: Path, tmp_path: Path) -> None:
    seen = evidence(settings, base, write_mute(tmp_path / "mute", base))
    search = Tried(Quadratics(**settings, trials=10), seen)
    assert search.lost == [1]
    assert search.confirmed(search.judge(search.everything)).weights.tolist() == [1, 0]
    assert merges(seen) == []


def test_statistics_come_from_the_texts(settings, base: Path, goal: Path, tmp_path: Path) -> None:
    texts = load_texts(write_texts(tmp_path / "texts.txt", 12), 12, 0)
    method = MethodChoice("regmean", {"examples": 8})
    strategy = Evolution(**settings, space={"alpha": (0.2, 0.9)}, trials=3)
    seen = evidence(settings, base, goal, method=method, texts=texts)
    choice = strategy.choose(seen)
    assert choice.parameters is not None
    assert find_method("regmean").with_defaults(choice.parameters)["examples"] == 8


def test_a_point_that_cannot_be_merged_is_named(settings, base: Path, goal: Path) -> None:
    strategy = Evolution(**settings, space={"scale": (1.0, 1e39)}, trials=6)
    with pytest.raises(EmbedmergeError, match=r"in a search, at weights .*, scale .*narrow") as caught:
        strategy.choose(evidence(settings, base, goal))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("strategy", "names", "method", "message"),
    [
        (Evolution(examples="none", space={"densty": (0.1, 0.5)}), NAMES, MethodChoice("ties"), "'density'"),
        (Study(examples="none", space={"density": (0.5, 0.1)}), NAMES, MethodChoice("ties"), "no range"),
        (Study(examples="none", evaluation="true"), ["base"], None, "at least 1 of its experts, not 0"),
        (Evolution(examples="none", evaluation="surrogate"), NAMES, MethodChoice("ties"), "take `true`"),
        (
            Evolution(examples="none", evaluation="surrogate"),
            NAMES,
            MethodChoice("linear", {"clamp": 1.0}),
            "take `true`",
        ),
        (
            Study(examples="none", evaluation="surrogate", space=SCALED),
            NAMES,
            MethodChoice("linear"),
            "take `true`",
        ),
        (Quadratics(examples="none", trials=9), NAMES, None, "at least 10 trials, not 9"),
    ],
)
def test_what_cannot_be_is_refused_before_a_model_is_opened(
    strategy: Searched, names: list[str], method: MethodChoice | None, message: str
) -> None:
    with pytest.raises(EmbedmergeError, match=message) as caught:
        strategy.require_consistent(names, method)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("library", "search"), [("cma", Evolution), ("optuna", Study)])
def test_a_missing_library_is_named_with_what_to_install(
    monkeypatch: pytest.MonkeyPatch, library: str, search: type[Searched]
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(EmbedmergeError, match=rf"{library} .*pip install embedmerge\[search\]"):
        search(examples="none").require_consistent(NAMES)
    Quadratics(examples="none").require_consistent(NAMES)


def test_every_method_may_be_searched() -> None:
    for name, experts in (("ties", NAMES), ("slerp", NAMES[:2]), ("fisher", NAMES), ("linear", NAMES)):
        Evolution(examples="none").require_consistent(experts, MethodChoice(name))
