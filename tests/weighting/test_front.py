from __future__ import annotations

import json
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from words import sentence

from embedmerge.api import weigh
from embedmerge.errors import EmbedmergeError
from embedmerge.sources import SourceSpec, open_sources
from embedmerge.stages import choose
from embedmerge.weighting import survey
from embedmerge.weighting.examples import Example, ExampleSet
from embedmerge.weighting.front import Front
from embedmerge.weighting.guard import Guard
from embedmerge.weighting.registry import parse_strategy
from embedmerge.weighting.strategy import Choice, MethodChoice, choice_from_json, choice_to_json

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    MakeFront = Callable[..., Front]

ROOMY = 99.0  # a budget that allows anything


def made_examples(number: int, seed: int = 0) -> list[Example]:
    random = np.random.default_rng([seed, 9])
    rows = []
    for _ in range(number):
        passage = sentence(random, 12)
        query = " ".join([*passage.split()[:4], sentence(random, 2)])
        rows.append(Example(query, (passage,), tuple(sentence(random, 12) for _ in range(2))))
    return rows


def written(path: Path, examples: Sequence[Example]) -> str:
    rows = ({"query": one.query, "pos": one.pos, "neg": one.neg} for one in examples)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def specs(*folders: Path) -> list[SourceSpec]:
    base, *experts = folders
    roles = ["target", *["peer"] * len(experts)]
    named = [SourceSpec(folder.name, str(folder), role) for folder, role in zip(experts, roles, strict=False)]
    return [SourceSpec("base", str(base), "base"), *named]


def candidates(choice: Choice) -> dict[str, Any]:
    assert choice.selection is not None
    return {candidate.name: candidate for candidate in choice.selection.candidates}


def one_line(caught: pytest.ExceptionInfo[EmbedmergeError]) -> str:
    said = str(caught.value)
    assert "\n" not in said
    return said


@pytest.fixture(scope="module")
def five(make_checkpoint, make_expert) -> list[Path]:
    """Models that are off a better one in as many directions, so that mixing them helps."""
    good = make_checkpoint("front-good", seed=11, layers=1, spread=4)
    names = ("base", "tuned", "peer", "fourth", "fifth")
    return [make_expert(f"front-{name}", base=good, seed=seed, scale=0.08) for seed, name in enumerate(names)]


@pytest.fixture(scope="module")
def folders(five: list[Path]) -> list[Path]:
    return five[:3]


@pytest.fixture(scope="module")
def thirty(tmp_path_factory: pytest.TempPathFactory) -> str:
    return written(tmp_path_factory.mktemp("front") / "thirty.jsonl", made_examples(30))


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    random = np.random.default_rng(4)
    path = tmp_path_factory.mktemp("front") / "house.txt"
    path.write_text("".join(sentence(random, 9) + "\n" for _ in range(24)))
    return str(path)


@pytest.fixture(scope="module")
def front(thirty: str, text: str) -> MakeFront:
    def make(budget: float = ROOMY, **changes: Any) -> Front:
        settings = {"examples": thirty, "objective": "ndcg_at_10", **changes}
        return Front(guard=Guard(text=text, budget=budget), **settings)

    return make


@pytest.fixture(scope="module")
def pair(folders: list[Path], front: MakeFront) -> Choice:
    return weigh(specs(*folders[:2]), front(0.03))


@pytest.fixture(scope="module")
def trio(folders: list[Path], front: MakeFront) -> Choice:
    return weigh(specs(*folders), front())


def test_weights_of_all_sources_sum_to_one(pair: Choice, trio: Choice) -> None:
    for choice, names in ((pair, ["base", "front-tuned"]), (trio, ["base", "front-tuned", "front-peer"])):
        weights = choice.coefficients.weights
        assert list(weights) == names
        assert sum(weights.values()) == pytest.approx(1, abs=1e-9)
        assert min(weights.values()) >= 0
        assert choice.losses.keys() == choice.losses_se.keys() == set(names)


def test_without_a_floor_that_holds_the_best_mixture_is_chosen(trio: Choice) -> None:
    """Each source is off the same good model in a direction of its own, so their middle is best."""
    assert sorted(trio.coefficients.weights.values())[1] > 0.1
    by_name = candidates(trio)
    assert by_name["chosen"].target.value > max(by_name[name].target.value for name in trio.losses)
    assert by_name["chosen"].target.value > by_name["placebo"].target.value


def test_the_floor_binds(trio: Choice, folders: list[Path], front: MakeFront) -> None:
    budget = -candidates(trio)["chosen"].general.value / 3
    assert budget > 1e-3
    choice = weigh(specs(*folders), front(budget))
    assert 0.1 * budget < -candidates(choice)["chosen"].general.value < 1.3 * budget
    assert choice.coefficients.weights["base"] > trio.coefficients.weights["base"]


def test_no_budget_at_all_leaves_the_base(folders: list[Path], front: MakeFront) -> None:
    choice = weigh(specs(*folders[:2]), front(0))
    assert choice.coefficients.weights["base"] > 0.99


def test_the_choice_is_the_same_every_time(
    folders: list[Path], front: MakeFront, trio: Choice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EMBEDMERGE_CACHE", str(tmp_path))  # nothing is remembered
    assert weigh(specs(*folders), front()) == trio


def test_everything_it_should_be_compared_with_stands_beside_it(trio: Choice) -> None:
    by_name = candidates(trio)
    assert list(by_name) == ["base", "front-tuned", "front-peer", "uniform", "cocktail", "placebo", "chosen"]
    assert by_name["base"].weights == {"base": 1.0, "front-tuned": 0.0, "front-peer": 0.0}
    assert by_name["base"].target_to_base is by_name["base"].general_to_base is None
    assert by_name["uniform"].weights == pytest.approx(dict.fromkeys(trio.losses, 1 / 3), abs=1e-4)
    assert by_name["placebo"].weights is None
    assert by_name["chosen"].weights == trio.coefficients.weights
    losses = np.array(list(trio.losses.values()))
    shares = np.exp(-losses / 0.5) / np.exp(-losses / 0.5).sum()
    np.testing.assert_allclose(list(by_name["cocktail"].weights.values()), shares, atol=1e-3)
    for candidate in by_name.values():
        assert candidate.target.low <= candidate.target.value <= candidate.target.high
        assert candidate.general.low <= candidate.general.value <= candidate.general.high
        if candidate.target_to_base is not None:
            difference = candidate.target.value - by_name["base"].target.value
            assert candidate.target_to_base.value == pytest.approx(difference, abs=1e-9)
    exact = {name for name, candidate in by_name.items() if candidate.exact}
    assert exact == {*trio.losses, "placebo"}


def test_equally_good_weights_are_a_range_around_the_chosen(pair: Choice, trio: Choice) -> None:
    for choice in (pair, trio):
        assert choice.selection is not None
        for name, weight in choice.coefficients.weights.items():
            low, high = choice.selection.as_good[name]
            assert 0 <= low <= weight <= high <= 1


def test_the_front_goes_from_the_best_target_to_the_best_guard(trio: Choice) -> None:
    assert trio.selection is not None
    target, general = (
        [getattr(point, side) for point in trio.selection.front] for side in ("target", "general")
    )
    assert target == sorted(target, reverse=True)
    assert general == sorted(general)
    assert len(set(target)) == len(target) <= 25
    assert general[-1] == pytest.approx(0, abs=1e-4)  # the base keeps itself
    assert all(sum(point.weights.values()) == pytest.approx(1) for point in trio.selection.front)


def test_it_is_confirmed_by_a_true_merge(trio: Choice) -> None:
    assert trio.selection is not None
    confirmation = trio.selection.confirmation
    assert 1 <= confirmation.rounds <= 3
    assert confirmation.encodes >= 3 + 3 + 1  # sources, middles, the choice
    assert 0 <= confirmation.distance < 0.01
    off = any("is still off" in note for note in trio.selection.notes)
    assert off == (abs(confirmation.target) > 0.5)


def test_a_choice_that_is_not_as_expected_is_said_to_be_so(
    folders: list[Path], front: MakeFront, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(survey, "LOSS_TOLERANCE", -1.0)
    choice = weigh(specs(*folders[:2]), front(objective="loss", rounds=1))
    assert choice.selection is not None
    assert any("After 1 round the choice is still off" in note for note in choice.selection.notes)


def test_a_mixture_chosen_again_after_it_was_encoded_is_as_expected(
    folders: list[Path], front: MakeFront, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(survey, "LOSS_TOLERANCE", -1.0)
    choice = weigh(specs(*folders[:2]), front(objective="loss", rounds=3))
    assert choice.selection is not None
    assert choice.selection.confirmation.rounds == 2
    assert not any("still off" in note for note in choice.selection.notes)


def test_a_choice_survives_being_written_down(pair: Choice) -> None:
    plain = choice_to_json(pair)
    assert choice_from_json(json.loads(json.dumps(plain))) == pair
    bare = replace(pair, selection=None, losses={}, losses_se={}, parameters={"scale": 0.5})
    assert choice_from_json(json.loads(json.dumps(choice_to_json(bare)))) == bare


def test_weights_may_leave_the_simplex_where_asked(folders: list[Path], front: MakeFront) -> None:
    choice = weigh(specs(*folders[:2]), front(bounds=(-0.5, 1.5)))
    assert choice.selection is not None
    shown = [point.weights["front-tuned"] for point in choice.selection.front]
    assert sum(choice.coefficients.weights.values()) == pytest.approx(1)
    assert -0.5 <= min(shown) <= max(shown) <= 1.5


@pytest.mark.parametrize("bounds", [(0.1, 1), (-2, 1), (0, 0.9), (0, 3)])
def test_bounds_that_make_no_sense_are_refused(bounds: tuple[float, float]) -> None:
    with pytest.raises(EmbedmergeError, match="bounds: ") as caught:
        parse_strategy("front", {"examples": "few.jsonl", "bounds": bounds})
    one_line(caught)


def test_a_method_with_a_scale_is_chosen_for_as_it_merges(
    folders: list[Path], front: MakeFront, tmp_path: Path
) -> None:
    """Half of a task vector, by the method or by the source, is the same."""
    half = tmp_path / "front-tuned"
    shutil.copytree(folders[1], half)
    first, second = (load_file(folder / "model.safetensors") for folder in folders[:2])
    halved = {name: (own + second[name]) / 2 if own.dtype.kind == "f" else own for name, own in first.items()}
    save_file(halved, half / "model.safetensors", metadata={"format": "pt"})
    examples, method = ExampleSet(made_examples(30)), MethodChoice("task_arithmetic", {"scale": 0.5})
    by_method = choose(open_sources(specs(*folders[:2]))[0], front(), examples, method=method)
    by_source = choose(open_sources(specs(folders[0], half))[0], front(), examples)
    weights = [choice.coefficients.weights["front-tuned"] for choice in (by_method, by_source)]
    assert weights[0] == pytest.approx(weights[1], abs=0.02)
    for name in ("base", "chosen"):
        found, wanted = (candidates(choice)[name].target.value for choice in (by_method, by_source))
        assert found == pytest.approx(wanted, abs=0.5)


def test_sources_and_plain_averages_are_reported_as_they_are_whatever_the_method(
    folders: list[Path], front: MakeFront
) -> None:
    examples, sources = ExampleSet(made_examples(30)), open_sources(specs(*folders[:3]))[0]
    methods = (MethodChoice(), MethodChoice("iso_linear"), MethodChoice("linear", {"lines": 0.2}))
    plain, *others = (choose(sources, front(), examples, method=method) for method in methods)
    for choice in others:
        assert choice.losses == pytest.approx(plain.losses, abs=1e-4)
        assert all(candidate.exact for name, candidate in candidates(choice).items() if name != "chosen")
        for name in plain.coefficients.weights:
            wanted = candidates(plain)[name].target.value
            assert candidates(choice)[name].target.value == pytest.approx(wanted, abs=1e-3)
    by_levelling, by_depth = map(candidates, others)
    for name in ("uniform", "cocktail"):
        assert by_levelling[name].target == by_depth[name].target
    assert by_levelling["chosen"].target != by_depth["chosen"].target


@pytest.mark.parametrize(
    ("method", "says"),
    [
        (MethodChoice("ties"), "for ties search with"),
        (MethodChoice("linear", {"clamp": 1.0}), "clamp"),
    ],
)
def test_a_method_that_is_no_weighted_sum_is_refused(method: MethodChoice, says: str) -> None:
    with pytest.raises(EmbedmergeError, match=says) as caught:
        Front(examples="few.jsonl").require_consistent(["base", "tuned"], method)
    one_line(caught)


def test_many_sources_are_searched_around_the_front(
    five: list[Path], front: MakeFront, tmp_path: Path
) -> None:
    few = written(tmp_path / "few.jsonl", made_examples(10))
    choice = weigh(specs(*five), front(examples=few, rounds=1))
    weights = choice.coefficients.weights
    assert list(weights) == ["base", *(folder.name for folder in five[1:])]
    assert sum(weights.values()) == pytest.approx(1)
    assert choice.selection is not None
    best = choice.selection.front[0]
    assert best.target > max(candidates(choice)[name].target.value for name in weights)
    assert sum(weight > 0.05 for weight in best.weights.values()) >= 2  # each adds what others lack


def test_sources_of_another_width_are_refused_by_the_gate(
    folders: list[Path], make_checkpoint, front: MakeFront
) -> None:
    with pytest.raises(EmbedmergeError, match="front-wide") as caught:
        weigh(specs(folders[0], make_checkpoint("front-wide", hidden=64)), front())
    one_line(caught)


def test_a_source_of_nan_is_named_in_one_line(folders: list[Path], make_expert, front: MakeFront) -> None:
    broken = make_expert("front-nan", base=folders[0])
    tensors = load_file(broken / "model.safetensors")
    tensors["encoder.layer.0.output.dense.weight"][0, 0] = np.nan
    save_file(tensors, broken / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(EmbedmergeError, match="front-nan: gives NaN") as caught:
        weigh(specs(*folders[:2], broken), front())
    one_line(caught)


def test_examples_are_read_before_a_source_is_opened(tmp_path: Path) -> None:
    for name in ("none.jsonl", "some-test.jsonl"):
        with pytest.raises(EmbedmergeError, match=name) as caught:
            weigh(specs(tmp_path / "a", tmp_path / "b"), Front(examples=str(tmp_path / name)))
        one_line(caught)
