from __future__ import annotations

import json
import shutil
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from scipy.special import logsumexp, rel_entr, softmax
from sentence_transformers import SentenceTransformer
from words import WORDS

from embedmerge.errors import EmbedmergeError
from embedmerge.retrieval.settings import EncodingSettings
from embedmerge.sources import SourceSpec, open_sources
from embedmerge.weighting.examples import Example
from embedmerge.weighting.ground import Preservation, Retrieval
from embedmerge.weighting.landscape import Landscape
from embedmerge.weighting.pool import Pool
from embedmerge.weighting.quality import Quality, Side, grouped_means
from embedmerge.weighting.strategy import MethodChoice
from embedmerge.weighting.trial import Trials

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

TEMPERATURE = 0.05


def sentence(random: np.random.Generator, length: int) -> str:
    return " ".join(random.choice(WORDS, size=length))


def made_examples(seed: int = 0, number: int = 8) -> list[Example]:
    """Queries that share some words with a passage, so that tiny random models find it now and then."""
    random = np.random.default_rng(seed)
    examples = []
    for _ in range(number):
        passage = sentence(random, 12)
        query = " ".join([*passage.split()[:6], *sentence(random, 1).split()])
        examples.append(Example(query, (passage,), tuple(sentence(random, 12) for _ in range(4))))
    return examples


EXAMPLES = made_examples()
TEXTS = [sentence(np.random.default_rng([1, row]), 9) for row in range(12)]


def trials_of(*folders: Path) -> Trials:
    roles = ["base", *["peer"] * (len(folders) - 1)]
    specs = [
        SourceSpec(f"{row} {folder.name}", str(folder), role)
        for row, (folder, role) in enumerate(zip(folders, roles, strict=True))
    ]
    return Trials(open_sources(specs)[0], EncodingSettings())


def landscape_of(*folders: Path, method: MethodChoice | None = None) -> Landscape:
    target = Retrieval("examples", Pool.of_examples(EXAMPLES), TEMPERATURE)
    return Landscape(trials_of(*folders), [target], [Preservation("texts", TEXTS, TEMPERATURE)], method)


def mixed(target: Path, folders: Sequence[Path], weights: Sequence[float], scale: float = 1.0) -> Path:
    """The base moved by the weighted task vectors, by plain arithmetic on its files."""
    shutil.copytree(folders[0], target)
    tensors = [load_file(folder / "model.safetensors") for folder in folders]
    merged = {}
    for name, own in tensors[0].items():
        if own.dtype.kind == "f":
            steps = [
                weight * (other[name].astype(float) - own)
                for weight, other in zip(weights[1:], tensors[1:], strict=True)
            ]
            merged[name] = (own + scale * sum(steps)).astype(np.float32)
        else:
            merged[name] = own
    save_file(merged, target / "model.safetensors", metadata={"format": "pt"})
    return target


@cache
def loaded(folder: Path) -> SentenceTransformer:
    return SentenceTransformer(str(folder), device="cpu")


def similarities(model: SentenceTransformer, queries: Sequence[str], passages: Sequence[str]) -> np.ndarray:
    """As the model compares them: its own vectors, by their dot product."""
    first, second = (model.encode(list(side), prompt="", batch_size=4) for side in (queries, passages))
    return first.astype(float) @ second.astype(float).T


def true_target(folder: Path) -> dict[str, np.ndarray]:
    """nDCG@10 in points, and minus the loss, of every example, written out."""
    passages = list(dict.fromkeys(text for example in EXAMPLES for text in (*example.pos, *example.neg)))
    scores = similarities(loaded(folder), [one.query for one in EXAMPLES], passages)
    ndcg, losses = [], []
    for row, example in zip(scores, EXAMPLES, strict=True):
        own = passages.index(example.pos[0])
        rank = int((row > row[own]).sum())
        ndcg.append(100 / np.log2(rank + 2) if rank < 10 else 0.0)
        losses.append(logsumexp(row / TEMPERATURE) - row[own] / TEMPERATURE)
    return {"ndcg_at_10": np.array(ndcg), "loss": -np.array(losses)}


def true_general(folder: Path, base: Path) -> np.ndarray:
    """Minus the divergence of every text's ranking of the others from the base's."""
    own, others = (similarities(loaded(one), TEXTS, TEXTS) for one in (folder, base))
    values = []
    for text in range(len(TEXTS)):
        kept = [row for row in range(len(TEXTS)) if row != text]
        expected, found = (softmax(side[text, kept] / TEMPERATURE) for side in (others, own))
        values.append(-rel_entr(expected, found).sum())
    return np.array(values)


def assert_true(quality: Quality, measure: str, folder: Path, base: Path, atol: float = 1e-3) -> None:
    np.testing.assert_allclose(quality.target.values[0], true_target(folder)[measure], atol=atol)
    np.testing.assert_allclose(quality.general.values[0], true_general(folder, base), atol=atol)


@pytest.fixture(scope="module")
def folders(base: Path, make_expert) -> list[Path]:
    far = [make_expert(f"landscape-{seed}", base=base, seed=seed, scale=0.08) for seed in (5, 7)]
    return [base, *far]


@pytest.fixture(scope="module")
def bent(folders: list[Path]) -> Landscape:
    landscape = landscape_of(*folders)
    landscape.bend()
    return landscape


@pytest.mark.parametrize("measure", ["ndcg_at_10", "loss"])
def test_sources_alone_are_valued_as_they_are(bent: Landscape, folders: list[Path], measure: str) -> None:
    for weights, folder in zip(np.eye(3), folders, strict=True):
        assert_true(bent.quality(weights[None], measure), measure, folder, folders[0])


def test_the_examples_tell_the_sources_apart(folders: list[Path]) -> None:
    """Without this the tests around it would prove little."""
    losses = [-true_target(folder)["loss"].mean() for folder in folders]
    assert 0.05 < min(losses) < max(losses) - 0.05
    assert 10 < true_target(folders[0])["ndcg_at_10"].mean() < 95


@pytest.mark.parametrize("edge", [(0, 1), (0, 2), (1, 2)])
def test_the_middle_of_a_pair_is_valued_as_it_is(
    bent: Landscape, folders: list[Path], tmp_path: Path, edge: tuple[int, int]
) -> None:
    weights = np.eye(3)[list(edge)].mean(axis=0)
    true = mixed(tmp_path / "middle", folders, weights)
    assert edge in bent.mesh.curved
    assert_true(bent.quality(weights[None], "loss"), "loss", true, folders[0])
    assert_true(bent.quality(weights[None]), "ndcg_at_10", true, folders[0])
    assert bent.off(weights, bent.merged(weights)) < 1e-4


def test_what_lies_between_is_valued_closely(bent: Landscape, folders: list[Path], tmp_path: Path) -> None:
    for row, weights in enumerate(
        np.array([[0.7, 0.3, 0], [0.4, 0.3, 0.3], [0.25, 0, 0.75], [-0.2, 1, 0.2]])
    ):
        true = mixed(tmp_path / str(row), folders, weights)
        quality = bent.quality(weights[None], "loss")
        assert_true(quality, "loss", true, folders[0], atol=0.1)
        assert quality.target.means[0] == pytest.approx(true_target(true)["loss"].mean(), abs=0.03)


def test_a_true_merge_is_judged_as_it_is(bent: Landscape, folders: list[Path], tmp_path: Path) -> None:
    weights = np.array([0.2, 0.5, 0.3])
    true = mixed(tmp_path / "true", folders, weights)
    embedded = bent.merged(weights)
    for measure in ("ndcg_at_10", "loss"):
        assert_true(bent.judged(embedded, measure), measure, true, folders[0])


def test_nothing_is_off_at_corners(bent: Landscape) -> None:
    for corner in np.eye(3):
        assert bent.off(corner, bent.merged(corner)) == pytest.approx(0, abs=1e-6)
    weights = np.array([0.2, 0.5, 0.3])
    distance = bent.off(weights, bent.merged(weights))
    assert 1e-6 < distance < 0.01


def test_a_source_is_not_encoded_again(bent: Landscape) -> None:
    before = bent.encodes
    bent.merged(np.eye(3)[1])
    assert bent.encodes == before


def test_a_refined_landscape_is_exact_where_it_was(folders: list[Path], tmp_path: Path) -> None:
    landscape = landscape_of(*folders)  # all edges straight, so that there is something to mend
    weights = np.array([0.3, 0.3, 0.4])
    true = mixed(tmp_path / "true", folders, weights)
    embedded = landscape.merged(weights)
    before = landscape.off(weights, embedded)
    landscape.refine(weights, embedded)
    after = landscape.off(weights, embedded)
    assert before > 1e-3
    assert after == pytest.approx(0, abs=1e-6)
    assert_true(landscape.quality(weights[None], "loss"), "loss", true, folders[0])
    assert_true(landscape.quality(np.eye(3)[1:2], "loss"), "loss", folders[1], folders[0])
    middle = (weights + np.eye(3)[0]) / 2
    assert_true(
        landscape.quality(middle[None], "loss"),
        "loss",
        mixed(tmp_path / "middle", folders, middle),
        folders[0],
    )


def test_refining_leaves_edges_alone_that_were_not_wanted(folders: list[Path]) -> None:
    """A source that has been sifted out gets no more encodes."""
    landscape = landscape_of(*folders)
    landscape.bend([(0, 1)])
    weights = np.array([0.4, 0.6, 0.0])
    landscape.refine(weights, landscape.merged(weights), live=[0, 1])
    assert all(2 not in edge for edge in landscape.mesh.curved)
    assert landscape.encodes == 3 + 1 + 1 + 2  # sources, one middle, the mixture, its two halves


def test_refining_does_not_bend_what_was_left_straight_elsewhere(folders: list[Path]) -> None:
    landscape = landscape_of(*folders)
    landscape.bend([(0, 1), (0, 2)])  # as for a large pool: pairs with the base alone
    weights = np.array([0.4, 0.3, 0.3])
    landscape.refine(weights, landscape.merged(weights))
    assert (1, 2) not in landscape.mesh.curved
    assert landscape.encodes == 3 + 2 + 1 + 3  # sources, middles, the mixture, from there to each source


def test_general_tasks_are_measured_in_points_whatever_is_maximised(folders: list[Path]) -> None:
    grounds = [Retrieval(name, Pool.of_examples(EXAMPLES), TEMPERATURE) for name in ("target", "general")]
    landscape = Landscape(trials_of(*folders[:2]), grounds[:1], grounds[1:])
    corner = np.array([[0.0, 1.0]])
    true = true_target(folders[1])
    for quality in (landscape.quality(corner, "loss"), landscape.judged(landscape.merged(corner[0]), "loss")):
        np.testing.assert_allclose(quality.target.values[0], true["loss"], atol=1e-3)
        np.testing.assert_allclose(quality.general.values[0], true["ndcg_at_10"], atol=1e-3)


def test_straight_edges_are_not_encoded(folders: list[Path], make_expert) -> None:
    same = make_expert("landscape-same", base=folders[0], scale=0.0)
    landscape = landscape_of(folders[0], same, folders[1])
    assert landscape.encodes == 3
    landscape.bend()
    assert landscape.mesh.curved == ((0, 2), (1, 2))
    assert landscape.encodes == 5
    landscape.bend()  # what was tried is not tried again
    assert landscape.encodes == 5


def test_some_edges_may_be_bent_alone(folders: list[Path]) -> None:
    landscape = landscape_of(*folders)
    landscape.bend([(0, 2)])
    assert landscape.mesh.curved == ((0, 2),)
    assert landscape.encodes == 4


def test_slopes_are_those_of_finite_differences(bent: Landscape) -> None:
    weights, step = np.array([0.45, 0.3, 0.25]), 5e-3
    values, slopes = bent.slope(weights)
    quality = bent.quality(weights[None], "loss")
    np.testing.assert_allclose(values, [quality.target.means[0], quality.general.means[0]], atol=1e-5)
    for direction in np.array([[-1, 1, 0], [-1, 0, 1], [0, 1, -1]]):
        ends = bent.quality(weights + step * np.array([[1], [-1]]) * direction, "loss")
        for side, slope in zip((ends.target, ends.general), slopes, strict=True):
            found = (side.means[0] - side.means[1]) / (2 * step)
            assert slope @ direction == pytest.approx(found, rel=0.02, abs=2e-3)


def test_slopes_of_some_queries_are_those_queries(bent: Landscape) -> None:
    weights, rows = np.array([0.45, 0.3, 0.25]), (np.array([1, 4]), np.array([0, 2, 7]))
    values, slopes = bent.slope(weights, "loss", rows)
    quality = bent.quality(weights[None], "loss")
    wanted = [quality.target.values[0][rows[0]].mean(), quality.general.values[0][rows[1]].mean()]
    np.testing.assert_allclose(values, wanted, atol=1e-5)
    whole = bent.slope(weights)[1]
    assert np.abs(slopes - whole).max() > 1e-3


@pytest.mark.parametrize("scale", [0.5, 1.7])
def test_a_method_that_moves_the_corners_is_valued_where_they_are(
    folders: list[Path], tmp_path: Path, scale: float
) -> None:
    landscape = landscape_of(*folders[:2], method=MethodChoice("task_arithmetic", {"scale": scale}))
    landscape.bend()
    for row, weights in enumerate([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]]):
        true = mixed(tmp_path / str(row), folders[:2], weights, scale)
        assert_true(landscape.quality(np.array([weights]), "loss"), "loss", true, folders[0])


def test_a_method_that_levels_task_vectors_is_affine_in_the_weights(folders: list[Path]) -> None:
    method = MethodChoice("iso_linear")
    landscape = landscape_of(*folders[:3], method=method)
    landscape.bend()
    weights = np.array([0.2, 0.5, 0.3])
    true, plain = (make(weights) for make in (landscape.merged, landscape.averaged))
    assert landscape.off(weights, true) < 0.2 * landscape.off(weights, plain)


def test_vectors_that_are_not_normalised_are_compared_by_their_product(
    make_checkpoint, make_expert, tmp_path: Path
) -> None:
    base = make_checkpoint("landscape-dot", normalise=False)
    settings = json.loads((base / "config_sentence_transformers.json").read_text())
    (base / "config_sentence_transformers.json").write_text(
        json.dumps({**settings, "similarity_fn_name": "dot"})
    )
    pair = [base, make_expert("landscape-dot-expert", base=base, scale=0.08)]
    target = Retrieval("examples", Pool.of_examples(EXAMPLES), TEMPERATURE)
    landscape = Landscape(trials_of(*pair), [target], [Preservation("texts", TEXTS, TEMPERATURE)])
    landscape.bend()
    middle = mixed(tmp_path / "middle", pair, [0.5, 0.5])
    for weights, folder in (([1, 0], pair[0]), ([0, 1], pair[1]), ([0.5, 0.5], middle)):
        quality = landscape.quality(np.array([weights], float), "loss")
        # A dot product of such vectors is in the hundreds, and divided by the temperature in the thousands.
        np.testing.assert_allclose(
            quality.target.values[0], true_target(folder)["loss"], rtol=1e-3, atol=0.05
        )
        np.testing.assert_allclose(
            landscape.quality(np.array([weights], float)).target.values[0],
            true_target(folder)["ndcg_at_10"],
            atol=1e-3,
        )
    scores = similarities(loaded(base), TEXTS, TEXTS)
    assert np.ptp(np.diag(scores)) > 0.1  # lengths do differ


def test_prompts_are_the_models_own(make_checkpoint, make_expert) -> None:
    prompts = {"query": "what is ", "document": "river "}
    base = make_checkpoint("landscape-prompted", prompts=prompts)
    landscape = landscape_of(base, make_expert("landscape-prompted-expert", base=base))
    model = loaded(base)
    passages = list(dict.fromkeys(text for example in EXAMPLES for text in (*example.pos, *example.neg)))
    first = model.encode([prompts["query"] + one.query for one in EXAMPLES], prompt="")
    second = model.encode([prompts["document"] + text for text in passages], prompt="")
    scores = first.astype(float) @ second.astype(float).T / TEMPERATURE
    own = [row[passages.index(one.pos[0])] for row, one in zip(scores, EXAMPLES, strict=True)]
    wanted = np.array(own) - logsumexp(scores, axis=1)
    found = landscape.quality(np.array([[1.0, 0.0]]), "loss").target.values[0]
    np.testing.assert_allclose(found, wanted, atol=1e-3)


def test_knowing_nothing_is_no_points_and_the_divergence_of_the_uniform(
    bent: Landscape, folders: list[Path]
) -> None:
    target, general = bent.knowing_nothing()
    scores = similarities(loaded(folders[0]), TEXTS, TEXTS) / TEMPERATURE
    np.fill_diagonal(scores, -np.inf)
    expected = softmax(scores, axis=1)
    others = np.full(len(TEXTS) - 1, 1 / (len(TEXTS) - 1))
    wanted = [-rel_entr(np.delete(row, place), others).sum() for place, row in enumerate(expected)]
    assert target == 0
    assert general == pytest.approx(np.mean(wanted), abs=1e-4)


def test_many_mixtures_are_valued_as_one_by_one(bent: Landscape, monkeypatch: pytest.MonkeyPatch) -> None:
    from embedmerge.weighting import surrogate

    weights = np.random.default_rng(2).dirichlet(np.ones(3), 40)
    whole = bent.quality(weights)
    monkeypatch.setattr(surrogate, "ELEMENTS_AT_ONCE", 2000)
    cut = bent.quality(weights)
    np.testing.assert_allclose(whole.target.values, cut.target.values, atol=1e-3)
    one = bent.quality(weights[17][None])
    np.testing.assert_allclose(whole.general.values[17], one.general.values[0], atol=1e-4)


def test_grounds_of_a_side_count_alike() -> None:
    side = Side(np.array([[1.0, 3.0, 10.0], [0.0, 0.0, 6.0]]), np.array([0, 0, 1]))
    assert side.means.tolist() == [6.0, 3.0]
    assert side.of_rows(np.array([1, 2])).means.tolist() == [6.5, 3.0]
    assert grouped_means(side.values, np.array([0, 0, 0])).tolist() == pytest.approx([14 / 3, 2.0])


def test_a_source_that_gives_nan_is_named(base: Path, make_expert) -> None:
    broken = make_expert("landscape-nan", base=base)
    tensors = load_file(broken / "model.safetensors")
    first = next(name for name, tensor in sorted(tensors.items()) if tensor.dtype.kind == "f")
    tensors[first] = np.full_like(tensors[first], np.nan)
    save_file(tensors, broken / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(EmbedmergeError, match="landscape-nan") as caught:
        landscape_of(base, broken)
    assert "\n" not in str(caught.value)
