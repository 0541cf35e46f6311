from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from five_sources import five_sources, specs_of

from embedmerge.api import weigh
from embedmerge.errors import EmbedmergeError
from embedmerge.retrieval.encoder import Encoder
from embedmerge.sources import encoder_model, open_sources
from embedmerge.weighting.examples import load_examples
from embedmerge.weighting.guard import Guard
from embedmerge.weighting.loss import pool_losses
from embedmerge.weighting.metric import Metric, powers

if TYPE_CHECKING:
    from five_sources import FiveSources


@pytest.fixture(scope="module")
def five(base, make_expert) -> FiveSources:
    return five_sources(base, make_expert)


def test_weights_are_a_power_of_the_inverse_loss(five: FiveSources) -> None:
    specs = specs_of(*five.folders[:3])
    opened, _ = open_sources(specs)
    examples = load_examples(five.examples)
    losses = [pool_losses(Encoder(encoder_model(one.checkpoint)), examples, 0.05).mean() for one in opened]
    wanted = np.array([1 / loss**3 for loss in losses]) / sum(1 / loss**3 for loss in losses)
    strategy = Metric(
        examples=str(five.examples), exponent=3, objective="loss", guard=Guard(text=str(five.text))
    )
    choice = weigh(specs, strategy)
    assert wanted.max() - wanted.min() > 0.02  # equal weights would prove nothing
    np.testing.assert_allclose(list(choice.coefficients.weights.values()), wanted, atol=2e-4)
    assert choice == weigh(specs, strategy)
    chosen = next(candidate for candidate in choice.selection.candidates if candidate.name == "chosen")
    assert chosen.general.low <= chosen.general.value <= chosen.general.high < 0
    assert choice.selection.confirmation.rounds == 1


def test_weights_are_a_power_of_the_score(five: FiveSources) -> None:
    judge = five.judge(objective="ndcg_at_10")
    scores = [judge.quality(corner[None]).target.means[0] for corner in np.eye(5)]
    weights = Metric(examples="", exponent=2).pick(judge)
    np.testing.assert_allclose(weights, np.square(scores) / np.square(scores).sum(), atol=1e-4)
    assert weights.sum() == pytest.approx(1)


@pytest.mark.parametrize("objective", ["loss", "ndcg_at_10", "recall_at_100"])
def test_exponent_0_is_the_uniform_average_of_the_live_sources(five: FiveSources, objective: str) -> None:
    weights = Metric(examples="", exponent=0).pick(five.judge(objective=objective, live=[0, 1, 2, 4]))
    assert weights.tolist() == [0.25, 0.25, 0.25, 0.0, 0.25]


@pytest.mark.parametrize("objective", ["loss", "ndcg_at_10"])
def test_the_best_source_gets_more_the_higher_the_exponent(five: FiveSources, objective: str) -> None:
    judge = five.judge(objective=objective)
    best = judge.quality(np.eye(5)).target.means.argmax()
    weights = np.array(
        [Metric(examples="", exponent=exponent).pick(judge) for exponent in (0, 0.5, 1, 2, 8, 5000)]
    )
    assert (np.diff(weights[:, best]) > 0).all()
    assert weights[-1, best] == 1
    assert (weights >= 0).all()
    np.testing.assert_allclose(weights.sum(axis=1), 1)


def test_the_floor_is_ignored(five: FiveSources) -> None:
    strict, generous = five.judge(budget=0.001), five.judge(budget=10)
    weights = Metric(examples="").pick(strict)
    assert not strict.above_floor(strict.quality(weights[None]))[0]
    np.testing.assert_array_equal(weights, Metric(examples="").pick(generous))


def test_sources_without_any_merit_share_alike() -> None:
    assert powers(np.zeros(4), 2.0).tolist() == [0.25] * 4
    assert powers(np.array([0.0, 5.0]), 1.0).tolist() == [0, 1]


def test_settings_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="exponent"):
        Metric(examples="few.jsonl", exponent=-1)
    with pytest.raises(EmbedmergeError, match="this strategy averages, with weights from 0 to 1"):
        Metric(examples="few.jsonl", bounds=(-0.5, 1.5))
