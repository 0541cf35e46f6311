from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from words import sentence

from embedmerge.errors import EmbedmergeError
from embedmerge.merging.coefficients import Coefficients
from embedmerge.mixture import Mixture
from embedmerge.retrieval.settings import EncodingSettings
from embedmerge.retrieval.vectors import normalised
from embedmerge.sources import SourceSpec, open_sources
from embedmerge.statistics.text import load_texts
from embedmerge.weighting.block_contest import Comparison, Difference
from embedmerge.weighting.block_terms import Align
from embedmerge.weighting.blocks import Blocks
from embedmerge.weighting.examples import read_examples
from embedmerge.weighting.front import Front
from embedmerge.weighting.loss import pool_losses
from embedmerge.weighting.merged_forward import MergedForward
from embedmerge.weighting.strategy import Evidence, MethodChoice, choice_from_json, choice_to_json
from embedmerge.weighting.trial import Trials

if TYPE_CHECKING:
    from embedmerge.weighting.strategy import Choice


def damaged(folder: Path, target: Path, part: str, scale: float, seed: int) -> Path:
    """A copy with noise on the tensors whose name has a part in it."""
    shutil.copytree(folder, target)
    random = np.random.default_rng(seed)
    tensors = {
        name: (values + scale * values.std() * random.standard_normal(values.shape)).astype(values.dtype)
        if part in name and values.dtype.kind == "f"
        else values
        for name, values in sorted(load_file(folder / "model.safetensors").items())
    }
    save_file(tensors, target / "model.safetensors", metadata={"format": "pt"})
    return target


def write_examples(path: Path, number: int, seed: int = 3) -> Path:
    random = np.random.default_rng(seed)
    passages = [sentence(random, 14) for _ in range(number)]
    rows = [{"query": " ".join(passage.split()[:6]), "pos": [passage]} for passage in passages]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def write_texts(path: Path, number: int, seed: int) -> Path:
    random = np.random.default_rng(seed)
    path.write_text("".join(sentence(random, 10) + "\n" for _ in range(number)))
    return path


def evidence(strategy: Blocks, base: Path, **experts: Path) -> Evidence:
    specs = [SourceSpec(name, str(path), "peer") for name, path in experts.items()]
    sources, _ = open_sources([SourceSpec("base", str(base), "base"), *specs])
    given = read_examples(strategy.examples)
    return Evidence(sources, given.examples, Trials(sources, EncodingSettings()), given.corpus)


def last_note(choice: Choice) -> str:
    assert choice.selection is not None
    return choice.selection.notes[-1]


@pytest.mark.parametrize(
    ("gain", "retrieval", "above_floor", "won"),
    [
        (0.12, 0.0, True, True),
        (0.12, -0.8, True, True),
        (0.12, -1.1, True, False),  # a loss that falls while retrieval gets worse is no gain
        (0.05, 2.0, True, False),
        (-0.2, 2.0, True, False),
        (0.12, 2.0, False, False),
    ],
)
def test_they_are_taken_for_a_gain_beyond_a_standard_error_alone(
    gain: float, retrieval: float, above_floor: bool, won: bool
) -> None:
    differences = Difference(gain, 0.05, "loss"), Difference(retrieval, 1.0, "ndcg_at_10")
    comparison = Comparison(*differences, 40, above_floor)
    assert comparison.is_won == won
    assert comparison.note.endswith("taken." if won else "one weight for all was kept.")


@pytest.fixture(scope="module")
def good(make_checkpoint) -> Path:
    """A model that retrieves: its vectors are nearly means of its words'."""
    folder = make_checkpoint("good-at-words", spread=1, hidden=64)
    tensors = load_file(folder / "model.safetensors")
    tensors["embeddings.word_embeddings.weight"] *= np.float32(20)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.fixture(scope="module")
def spoilt(good: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A base whose upper block is spoilt, and an expert whose lower one is."""
    folder = tmp_path_factory.mktemp("spoilt")
    return (
        damaged(good, folder / "base", "layer.1.", 10, seed=1),
        damaged(good, folder / "expert", "layer.0.", 10, seed=2),
    )


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("files")
    return {
        "examples": str(write_examples(folder / "examples.jsonl", 60)),
        "guard": str(write_texts(folder / "guard.txt", 16, seed=5)),
        "texts": str(write_texts(folder / "texts.txt", 40, seed=6)),
    }


def blocks(files: dict[str, str], budget: float = 10.0, **changes: object) -> Blocks:
    """A short course, with a guard that by default holds nothing back."""
    guard = {"text": files["guard"], "budget": budget}
    settings = {
        "guard_weight": 0,
        "steps": 10,
        "learning_rate": 0.1,
        "batch_size": 16,
        "pull": 0.01,
        **changes,
    }
    return Blocks(examples=files["examples"], guard=guard, **settings)


@pytest.fixture(scope="module")
def taken(files: dict[str, str], spoilt: tuple[Path, Path]) -> Choice:
    strategy = blocks(files)
    return strategy.choose(evidence(strategy, spoilt[0], expert=spoilt[1]))


def test_where_blocks_differ_in_truth_their_weights_do(taken: Choice) -> None:
    assert taken.coefficients.by_tensor is not None
    learned = taken.coefficients.by_tensor["expert"]
    assert learned["block 0"] < 0.1
    assert learned["block 1"] > 0.8
    assert "beat one weight for all on 12 held-out examples by" in last_note(taken)
    assert re.search(
        r"by [\d.]+ ± [\d.]+ nats less of loss, [\d.]+ ± [\d.]+ points of nDCG@10; taken\.$", last_note(taken)
    )


def test_beside_them_stands_the_fronts_choice(
    taken: Choice, files: dict[str, str], spoilt: tuple[Path, Path]
) -> None:
    front = Front(examples=files["examples"], guard={"text": files["guard"], "budget": 10.0})
    choice = front.choose(evidence(front, spoilt[0], expert=spoilt[1]))
    assert taken.coefficients.weights == choice.coefficients.weights
    assert taken.selection is not None
    assert choice.selection is not None
    assert taken.selection.strategy == "blocks"
    assert taken.selection.notes[:-1] == choice.selection.notes
    for own, theirs in zip(taken.selection.candidates, choice.selection.candidates, strict=True):
        if own.name != "chosen":
            assert own == theirs
            continue
        assert own.exact
        assert own.target.value > theirs.target.value
        assert own.general_to_base is not None
        assert own.general_to_base.value == pytest.approx(own.general.value, abs=1e-4)


def test_what_is_taken_is_better_on_examples_that_nothing_has_seen(
    taken: Choice, spoilt: tuple[Path, Path], tmp_path: Path
) -> None:
    new = Blocks(examples=str(write_examples(tmp_path / "new.jsonl", 60, seed=77)))
    unseen = evidence(new, spoilt[0], expert=spoilt[1])
    losses = []
    for coefficients in (taken.coefficients, Coefficients(taken.coefficients.weights)):
        with unseen.trials.of_mixture(Mixture(coefficients)) as encoder:
            losses.append(pool_losses(encoder, unseen.examples, 0.05).mean())
    assert losses[0] < losses[1] / 2


def test_a_choice_by_block_is_kept_in_a_run(taken: Choice) -> None:
    assert choice_from_json(json.loads(json.dumps(choice_to_json(taken)))) == taken


def test_where_nothing_is_to_be_gained_the_front_is_kept(
    files: dict[str, str], good: Path, make_expert
) -> None:
    strategy = blocks(files, steps=4)
    tuned = make_expert("no-better", base=good, seed=3, scale=0.01)
    choice = strategy.choose(evidence(strategy, good, expert=tuned))
    assert choice.coefficients.by_tensor is None
    assert "did not beat one weight for all on 12 held-out examples" in last_note(choice)
    assert last_note(choice).endswith("one weight for all was kept.")


def test_the_floor_holds_for_weights_by_block(files: dict[str, str], spoilt: tuple[Path, Path]) -> None:
    strategy = blocks(files, budget=0.02)
    choice = strategy.choose(evidence(strategy, spoilt[0], expert=spoilt[1]))
    assert choice.coefficients.by_tensor is None
    assert "general quality fell below the floor; one weight for all was kept" in last_note(choice)


def test_few_examples_are_not_learned_from(
    files: dict[str, str], spoilt: tuple[Path, Path], tmp_path: Path
) -> None:
    few = blocks({**files, "examples": str(write_examples(tmp_path / "few.jsonl", 20))})
    choice = few.choose(evidence(few, spoilt[0], expert=spoilt[1]))
    assert choice.coefficients.by_tensor is None
    assert "of 20 examples 4 would be held out, and 8 are needed to tell; give at least 40" in last_note(
        choice
    )


def test_the_seed_decides_what_is_learned(files: dict[str, str], spoilt: tuple[Path, Path]) -> None:
    found = []
    for seed in (1, 1, 2):
        strategy = blocks(files, seed=seed, steps=3, batch_size=8)
        given = evidence(strategy, spoilt[0], expert=spoilt[1])
        forward = MergedForward(given.sources, given.trials)
        term = Align.with_expert(
            given.trials.of_source(given.sources[1]), load_texts(Path(files["texts"]), 40, 0), 8, 0.05, 1.0
        )
        found.append(strategy.learned(forward, [(1.0, term)], np.array([0.4])).tolist())
    assert found[0] == found[1]
    assert found[0] != found[2]


def test_without_labels_the_mixture_moves_towards_the_expert_on_its_text(
    files: dict[str, str], base: Path, expert: Path, peer: Path, tmp_path: Path
) -> None:
    strategy = blocks(files, texts={"expert": files["texts"]})
    given = evidence(strategy, base, expert=expert, peer=peer)
    forward = MergedForward(given.sources, given.trials)
    texts = load_texts(Path(files["texts"]), 40, 0)
    wanted = given.trials.of_source(given.sources[1])
    start = np.array([0.3, 0.3])
    learned = strategy.learned(forward, [(1.0, Align.with_expert(wanted, texts, 16, 0.05, 1.0))], start)
    others = load_texts(write_texts(tmp_path / "others.txt", 20, seed=8), 20, 0)
    embedded = normalised(wanted.pooled([text.content for text in others]))
    distances = []
    for coefficients in (np.tile(start, (len(learned), 1)), learned):
        with torch.no_grad():
            vectors = forward.at(torch.from_numpy(coefficients).float()).pooled(others).numpy()
        distances.append(1 - (normalised(vectors) * embedded).sum(axis=1).mean())
    assert distances[1] < distances[0] / 2
    assert learned[:3, 0].min() > 0.5  # the pooler behind the blocks takes no part
    assert learned[:3, 1].max() < 0.2


def test_without_labels_examples_still_decide(files: dict[str, str], spoilt: tuple[Path, Path]) -> None:
    strategy = blocks(files, texts={"expert": files["texts"]}, steps=3)
    choice = strategy.choose(evidence(strategy, spoilt[0], expert=spoilt[1]))
    assert "Weights by block were learned and" in last_note(choice)
    assert "12 held-out examples" in last_note(choice)


def test_the_pull_keeps_weights_where_they_were(files: dict[str, str], base: Path, expert: Path) -> None:
    moved = []
    for pull in (0.0, 50.0):
        strategy = blocks(files, pull=pull)
        given = evidence(strategy, base, expert=expert)
        forward = MergedForward(given.sources, given.trials)
        term = Align.with_expert(
            given.trials.of_source(given.sources[1]), load_texts(Path(files["texts"]), 40, 0), 16, 0.05, 1.0
        )
        moved.append(np.abs(strategy.learned(forward, [(1.0, term)], np.array([0.3])) - 0.3).max())
    assert moved[1] < 0.1 < 0.4 < moved[0]


def test_settings_that_do_not_fit_are_refused(files: dict[str, str], base: Path, expert: Path) -> None:
    strategy = blocks(files, texts={"exprt": files["texts"]})
    with pytest.raises(EmbedmergeError, match="texts: no expert is named 'exprt'"):
        strategy.require_consistent(["base", "expert"])
    with pytest.raises(EmbedmergeError, match=r"strategy blocks: .* for ties"):
        blocks(files).require_consistent(["base", "expert"], MethodChoice("ties"))
    with pytest.raises(EmbedmergeError, match=r"linear or task_arithmetic; for iso_linear take front"):
        blocks(files).require_consistent(["base", "expert"], MethodChoice("iso_linear"))
    missing = blocks(files, texts={"expert": "nowhere.txt"})
    with pytest.raises(EmbedmergeError, match=r"nowhere.txt: no such file"):
        missing.choose(evidence(missing, base, expert=expert))
