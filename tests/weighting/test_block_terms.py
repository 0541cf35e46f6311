from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from words import sentence

from embedmerge.retrieval.collection import read_collection
from embedmerge.retrieval.settings import EncodingSettings
from embedmerge.sources import SourceSpec, open_sources
from embedmerge.statistics.text import Text
from embedmerge.weighting.block_terms import HARDEST, Align, Contrast, Keep, of_grounds
from embedmerge.weighting.examples import Example
from embedmerge.weighting.ground import Preservation, Retrieval
from embedmerge.weighting.landscape import Landscape
from embedmerge.weighting.merged_forward import MergedForward
from embedmerge.weighting.pool import Pool
from embedmerge.weighting.trial import Trials

if TYPE_CHECKING:
    from pathlib import Path

RANDOM = np.random.default_rng(11)
EXAMPLES = [Example(" ".join(text.split()[:4]), (text,)) for text in (sentence(RANDOM, 9) for _ in range(12))]
TEXTS = [sentence(RANDOM, 7) for _ in range(20)]
EVERYTHING = 10_000


@pytest.fixture(scope="module")
def trials(base: Path, expert: Path) -> Trials:
    sources, _ = open_sources(
        [SourceSpec("base", str(base), "base"), SourceSpec("expert", str(expert), "peer")]
    )
    return Trials(sources, EncodingSettings())


@pytest.fixture(scope="module")
def forward(trials: Trials) -> MergedForward:
    return MergedForward(trials.sources, trials)


@pytest.fixture(scope="module")
def survey(trials: Trials, general_collection: Path) -> SimpleNamespace:
    """What terms are made from: a target, texts and a task."""
    task = Retrieval("task", Pool.of_collection(read_collection(general_collection, "dev")))
    grounds = [Retrieval("examples", Pool.of_examples(EXAMPLES)), Preservation("text", TEXTS), task]
    return SimpleNamespace(
        grounds=grounds,
        landscape=Landscape(trials, grounds[:1], grounds[1:]),
        corners=np.eye(2),
        evidence=SimpleNamespace(trials=trials),
    )


def terms_of(
    survey: SimpleNamespace, general: np.ndarray, size: int = EVERYTHING, negatives: int = 2
) -> list:
    return of_grounds(survey, (np.arange(len(EXAMPLES)), general), size, negatives)


def at(forward: MergedForward, weight: float):
    return forward.at(torch.full((len(forward.groups), 1), weight))


def test_on_whole_grounds_the_terms_are_what_the_landscape_measures(
    survey: SimpleNamespace, forward: MergedForward
) -> None:
    target, text, _ = terms_of(survey, np.arange(40))
    true = survey.landscape.judged(survey.landscape.merged(np.array([0.4, 0.6])), "loss")
    generator = np.random.default_rng(0)
    with torch.no_grad():
        model = at(forward, 0.6)
        assert float(target(model, generator)) == pytest.approx(-true.target.means[0], abs=1e-4)
        divergence = -true.general.values[0, true.general.groups == 0].mean()
        assert divergence > 1e-3
        assert float(text(model, generator)) == pytest.approx(divergence, abs=1e-4)
        assert float(text(at(forward, 0.0), generator)) == pytest.approx(0, abs=1e-5)


def test_general_rows_are_counted_over_all_grounds(survey: SimpleNamespace) -> None:
    _, text, task = terms_of(survey, np.array([1, 19, 20, 27]))
    assert isinstance(text, Keep)
    assert isinstance(task, Contrast)
    assert (text.rows.tolist(), task.rows.tolist()) == ([1, 19], [0, 7])


def test_a_batch_draws_its_own_rows_with_hard_candidates(survey: SimpleNamespace) -> None:
    _, _, task = terms_of(survey, np.array([21, 25, 30]), size=2, negatives=3)
    asked: list[list[str]] = []

    class Listening:
        def pooled(self, texts: list[Text]) -> torch.Tensor:
            asked.append([text.content for text in texts])
            return torch.from_numpy(np.random.default_rng(len(asked)).normal(size=(len(texts), 4))).float()

    assert np.isfinite(float(task(Listening(), np.random.default_rng(0))))
    queries, passages = asked
    own = [task.queries[row] for row in (1, 5, 10)]
    assert len(queries) == 2
    assert set(queries) < set(own)
    hard: set[str] = set()
    for query in queries:
        row = list(task.queries).index(query)
        candidates = [task.passages[place] for place in task.settled.candidates[row]]
        assert candidates[0] in passages  # the relevant one, of which there is one here
        hard |= set(candidates[: HARDEST + 1])
    assert 4 < len(passages) <= 8
    assert set(passages) <= hard


def test_alignment_is_distance_and_divergence_from_the_expert(trials: Trials, forward: MergedForward) -> None:
    texts = [Text(content, "query" if row % 3 == 0 else "document") for row, content in enumerate(TEXTS)]
    expert = trials.of_source(trials.sources[1])
    plain, both = (Align.with_expert(expert, texts, EVERYTHING, 0.05, weight) for weight in (0.0, 2.0))
    np.testing.assert_allclose(plain.of_expert, expert.pooled(TEXTS), atol=1e-5)
    wanted, of_base = (
        torch.from_numpy(trials.of_source(each).pooled(TEXTS)) for each in trials.sources[::-1]
    )
    generator = np.random.default_rng(0)
    with torch.no_grad():
        assert float(both(at(forward, 1.0), generator)) == pytest.approx(0, abs=1e-5)
        distance = 1 - torch.nn.functional.cosine_similarity(of_base, wanted).mean()
        assert float(plain(at(forward, 0.0), generator)) == pytest.approx(float(distance), abs=1e-5)
        assert float(both(at(forward, 0.0), generator)) > float(distance) + 1e-3
