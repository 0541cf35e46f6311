from __future__ import annotations

import numpy as np
import pytest

from embedmerge.merging.anatomy import Site
from embedmerge.merging.part import Part
from embedmerge.merging.trimming import largest, magnitudes, trimmed

BASE = np.float32([1, 1, 1, 1, 1, 1])
FIRST = np.float32([0.5, -3, 0, 2, -1, 4])
SECOND = np.float32([-1, 1, 1, -1, 1, -1])


@pytest.fixture
def part():
    sources = (BASE, BASE + FIRST, BASE + SECOND)
    return Part(Site("w", (6,)), sources, (0.0, 0.5, 0.5))


def thresholds(part, *densities):
    survey = largest(densities)
    for again in (True, False):
        survey.add(survey.look(part))
        assert survey.finish_pass() is again
    return survey.facts[:, 0]


def test_magnitudes_are_of_the_task_vectors(part):
    np.testing.assert_array_equal(magnitudes(part), np.abs([FIRST, SECOND]))


@pytest.mark.parametrize(
    ("density", "kept"),
    [
        (0, [0, 0, 0, 0, 0, 0]),
        (0.1, [0, 0, 0, 0, 0, 4]),
        (1 / 3, [0, -3, 0, 0, 0, 4]),
        (0.5, [0, -3, 0, 2, 0, 4]),
        (0.51, [0, -3, 0, 2, -1, 4]),
        (1, FIRST.tolist()),
    ],
)
def test_the_largest_share_of_each_task_vector_is_kept(part, density, kept):
    first, _ = trimmed(part, thresholds(part, density, 1))
    assert first.tolist() == kept
    assert first.dtype == np.float32


def test_all_that_equal_the_smallest_kept_are_kept(part):
    _, second = trimmed(part, thresholds(part, 1, 0.2))
    assert second.tolist() == SECOND.tolist()


def test_each_task_vector_has_a_threshold_of_its_own(part):
    first, second = trimmed(part, thresholds(part, 1 / 3, 0))
    assert first.tolist() == [0, -3, 0, 0, 0, 4]
    assert not second.any()
    first, second = trimmed(part, np.float32([3, 2]))
    assert first.tolist() == [0, -3, 0, 0, 0, 4]
    assert not second.any()
