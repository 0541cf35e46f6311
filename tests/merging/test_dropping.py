from __future__ import annotations

import numpy as np
import pytest

from embedmerge.merging import dropping
from embedmerge.merging.anatomy import Site
from embedmerge.merging.part import Part

SHAPE = (40, 50)


@pytest.fixture
def part():
    random = np.random.default_rng(0)
    sources = tuple(random.standard_normal(SHAPE).astype(np.float32) for _ in range(3))
    return Part(Site("w", SHAPE), sources, (0.0, 0.5, 0.5), names=("base", "legal", "code"))


def same(probability):
    return lambda part: [np.float32(probability)] * len(part.task_vectors)


def dropped(part, probability, seed=0, rescale="inverse"):
    keep = same(probability)
    survey = dropping.survey(keep, seed, rescale)
    if survey is not None:
        survey.add(survey.look(part))
        assert not survey.finish_pass()
        part = Part(part.site, part.sources, part.weights, part.start, part.names, survey.facts)
    return dropping.dropped(part, keep(part), seed, rescale)


def test_elements_are_zero_or_divided_by_their_probability(part):
    for found, tau in zip(dropped(part, 0.25), part.task_vectors, strict=True):
        kept = found != 0
        np.testing.assert_allclose(found[kept], tau[kept] / np.float32(0.25), rtol=1e-6)
        # 2000 draws: the share kept is within 5 standard deviations.
        assert abs(kept.mean() - 0.25) < 5 * np.sqrt(0.25 * 0.75 / kept.size)
        assert found.dtype == np.float32


def test_each_element_has_a_probability_of_its_own(part):
    certain = np.zeros(SHAPE, np.float32)
    certain[::2] = 1
    found = dropping.dropped(part, [certain, 1 - certain], 0, "inverse")
    np.testing.assert_array_equal(found[0], part.task_vectors[0] * certain)
    np.testing.assert_array_equal(found[1], part.task_vectors[1] * (1 - certain))


def test_the_mean_over_the_seeds_is_the_task_vector(part):
    seeds = 300
    mean = sum(dropped(part, 0.5, seed)[0].astype(np.float64) for seed in range(seeds)) / seeds
    tau = part.task_vectors[0]
    # Each element is tau * Bernoulli(p) / p, of standard deviation |tau| * sqrt((1 - p) / p).
    scores = (mean - tau) / (np.abs(tau) * np.sqrt(1 / seeds))
    assert np.abs(scores).max() < 5
    assert abs(np.std(scores) - 1) < 0.1


def test_experts_and_seeds_drop_independently(part):
    first, second = (one != 0 for one in dropped(part, 0.5))
    third = dropped(part, 0.5, seed=1)[0] != 0
    for one, other in ((first, second), (first, third)):
        assert abs(np.mean(one == other) - 0.5) < 5 * np.sqrt(0.25 / one.size)


def test_the_more_is_kept_the_less_is_dropped_of_the_same(part):
    few, many = (dropped(part, probability)[0] != 0 for probability in (0.2, 0.6))
    assert not (few & ~many).any()


def test_l1_gives_the_survivors_the_norm_of_the_whole(part):
    for found, tau in zip(dropped(part, 0.3, rescale="l1"), part.task_vectors, strict=True):
        np.testing.assert_allclose(
            np.abs(found.astype(np.float64)).sum(), np.abs(tau.astype(np.float64)).sum(), rtol=1e-6
        )
        kept = found != 0
        ratios = found[kept] / tau[kept]
        np.testing.assert_allclose(ratios, ratios[0], rtol=1e-6)


def test_without_rescaling_what_is_kept_is_as_it_was(part):
    for found, tau in zip(dropped(part, 0.3, rescale="none"), part.task_vectors, strict=True):
        np.testing.assert_array_equal(found[found != 0], tau[found != 0])


@pytest.mark.parametrize("rescale", dropping.RESCALE.choices)
def test_everything_kept_and_nothing_kept(part, rescale):
    with np.errstate(all="raise"):
        kept, gone = dropped(part, 1.0, rescale=rescale), dropped(part, 0.0, rescale=rescale)
    np.testing.assert_allclose(kept, part.task_vectors, rtol=1e-6)
    assert not np.any(gone)


@pytest.mark.parametrize("rescale", dropping.RESCALE.choices)
def test_an_expert_that_has_not_moved_does_not_move(part, rescale):
    still = Part(part.site, (part.base, part.base, part.sources[2]), part.weights, names=part.names)
    with np.errstate(all="raise"):
        first, second = dropped(still, 0.5, rescale=rescale)
    assert not first.any()
    assert second.any()


def test_a_survey_is_made_only_where_the_norms_are_needed():
    assert dropping.survey(same(0.5), 0, "inverse") is None
    assert dropping.survey(same(0.5), 0, "none") is None
    assert dropping.survey(same(0.5), 0, "l1") is not None


def test_norms_add_up_over_slices(part):
    flat = [source.reshape(-1) for source in part.sources]
    survey, whole = (dropping.survey(same(0.5), 3, "l1") for _ in range(2))
    for start, stop in ((0, 7), (7, 1501), (1501, 2000)):
        cut = tuple(source[start:stop] for source in flat)
        survey.add(survey.look(Part(part.site, cut, part.weights, start, part.names)))
    whole.add(whole.look(part))
    np.testing.assert_allclose(survey.facts, whole.facts, rtol=1e-12)
    np.testing.assert_allclose(
        whole.facts[0], [np.abs(tau).sum(dtype=np.float64) for tau in part.task_vectors]
    )
