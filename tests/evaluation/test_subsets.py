from __future__ import annotations

from math import comb
from typing import TYPE_CHECKING

import numpy as np
import pytest
from words import sentence

from embedmerge.errors import EmbedmergeError
from embedmerge.evaluation.scoring import score
from embedmerge.evaluation.subsets import by_landscape, by_merging, probability_better, study_subsets
from embedmerge.evaluation.tasks import open_tasks
from embedmerge.retrieval.collection import read_collection
from embedmerge.retrieval.settings import EncodingSettings
from embedmerge.sources import SourceSpec, open_sources
from embedmerge.weighting.examples import Example
from embedmerge.weighting.ground import Retrieval
from embedmerge.weighting.landscape import Landscape
from embedmerge.weighting.pool import Pool
from embedmerge.weighting.trial import Trials

if TYPE_CHECKING:
    from pathlib import Path

NAMES = ["base", "law", "medicine", "code"]
WORTH = np.array([0.0, 3.0, 1.0, -5.0])


def linear(weights: np.ndarray) -> dict:
    """Sources that each are worth something on the target and the contrary on general retrieval."""
    return {"target": 50 + weights @ WORTH, "general": 40 - weights @ WORTH / 2}


def test_all_subsets_of_a_small_pool_are_looked_at() -> None:
    found = study_subsets(NAMES, linear)
    assert found.every
    assert found.subsets[0] == ("law",)
    assert found.subsets[-1] == ("law", "medicine", "code")
    assert len(found.subsets) == 7
    gains = dict(zip(found.subsets, found.gains["target"], strict=True))
    assert gains["law", "medicine"] == pytest.approx((3 + 1) / 3)  # the base counts like an expert
    assert found.probability_better["target"].better == 3  # law, medicine, both
    assert found.probability_better["general"].better == 4
    assert found.probability_better["both"].better == 0


def test_subsets_of_one_size() -> None:
    found = study_subsets(NAMES, linear, size=2)
    assert found.subsets == (("law", "medicine"), ("law", "code"), ("medicine", "code"))
    assert found.probability_better["target"].probability == pytest.approx(1 / 3)


def test_any_weights_will_do() -> None:
    def experts_alone(subset: tuple[int, ...]) -> list[float]:
        return [float(place in subset) / len(subset) for place in range(4)]

    found = study_subsets(NAMES, linear, size=1, weigh=experts_alone)
    assert found.gains["target"] == (3.0, 1.0, -5.0)


def test_of_a_large_pool_a_sample_is_drawn_the_same_every_time() -> None:
    names = ["base", *(f"e{place}" for place in range(14))]

    def quality(weights: np.ndarray) -> dict:
        return {"target": weights[:, 1]}

    found = study_subsets(names, quality, most=100)
    assert not found.every
    assert len(set(found.subsets)) == 100
    assert found == study_subsets(names, quality, most=100)
    assert found.subsets != study_subsets(names, quality, most=100, seed=1).subsets
    assert study_subsets(names, quality, size=2, most=100).every  # 91 pairs
    wanted = comb(13, 6) / comb(14, 7)  # half of the subsets of seven have the one that counts
    seven = study_subsets(names, quality, size=7, most=400).probability_better["target"]
    assert seven.low <= wanted <= seven.high


def test_wilsons_interval_is_open_at_no_end() -> None:
    assert probability_better([1.0] * 10).low == pytest.approx(10 / (10 + 1.96**2), abs=1e-3)
    assert probability_better([1.0] * 10).high == 1
    assert probability_better([0.0] * 10).better == 0  # as good is not better


def test_more_experts_than_there_are_cannot_be_taken() -> None:
    with pytest.raises(EmbedmergeError, match="5 of 3 experts cannot be taken"):
        study_subsets(NAMES, linear, size=5)
    with pytest.raises(EmbedmergeError, match="at least one of 0 experts"):
        study_subsets(["base"], linear)


@pytest.fixture(scope="module")
def trials(base: Path, expert: Path, peer: Path) -> Trials:
    named = {"base": base, "expert": expert, "peer": peer}
    roles = {"base": "base", "expert": "target", "peer": "peer"}
    specs = [SourceSpec(name, str(folder), roles[name]) for name, folder in named.items()]
    return Trials(open_sources(specs)[0], EncodingSettings())


def test_real_merges_of_subsets(trials: Trials, collection: Path, general_collection: Path) -> None:
    grounds = [
        Retrieval(name, Pool.of_collection(read_collection(folder)))
        for name, folder in (("target", collection), ("general", general_collection))
    ]
    landscape = Landscape(trials, grounds[:1], grounds[1:])
    landscape.bend()
    tasks = [
        *open_tasks([str(collection)], "target"),
        *open_tasks([str(general_collection)], "general"),
    ]
    names = ["base", "expert", "peer"]
    true = study_subsets(
        names, by_merging(lambda weights: trials.of_mixture(landscape.mixture(weights)), tasks)
    )
    assert true.subsets == (("expert",), ("peer",), ("expert", "peer"))
    base = score(trials.of_source(trials.sources[0]), tasks[0]).ndcg_at_10
    with trials.of_mixture(landscape.mixture(np.full(3, 1 / 3))) as mixture:
        assert true.gains["target"][2] == pytest.approx(score(mixture, tasks[0]).ndcg_at_10 - base)
    near = study_subsets(names, by_landscape(landscape))
    for side in ("target", "general"):
        np.testing.assert_allclose(near.gains[side], true.gains[side], atol=3)


def test_examples_alone_make_a_landscape_too(trials: Trials) -> None:
    random = np.random.default_rng(0)
    examples = [
        Example(sentence(random, 5), (sentence(random, 9),), (sentence(random, 9),)) for _ in range(6)
    ]
    grounds = [Retrieval(name, Pool.of_examples(examples)) for name in ("target", "general")]
    found = study_subsets(
        ["base", "expert", "peer"], by_landscape(Landscape(trials, grounds[:1], grounds[1:]))
    )
    assert found.gains["target"] == found.gains["general"]
    assert set(found.probability_better) == {"target", "general", "both"}
