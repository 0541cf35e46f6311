from __future__ import annotations

from functools import reduce
from itertools import combinations, pairwise

import numpy as np
import pytest

from embedmerge.diagnosis.moments import Moments, likeness

EXPERTS = 3


@pytest.fixture
def tensors():
    """A base and experts that each left some elements where they were."""
    random = np.random.default_rng(0)
    base = random.standard_normal(1003).astype(np.float32)
    experts = []
    for scale in (0.1, 0.5, 2):
        moved = (base + scale * random.standard_normal(base.size)).astype(np.float32)
        experts.append(np.where(random.random(base.size) < 0.3, base, moved))
    return base, experts


def in_parts(base, experts, cuts=(0, 1, 500, 504, 1003)):
    return reduce(
        Moments.__add__,
        (
            Moments.of(base[start:stop], [expert[start:stop] for expert in experts])
            for start, stop in pairwise(cuts)
        ),
    )


def test_norms_are_those_of_whole_task_vectors_by_the_bases(tensors):
    base, experts = tensors
    moments = in_parts(base, experts)
    assert moments.elements == base.size
    for at, expert in enumerate(experts):
        wanted = np.linalg.norm((expert - base).astype(np.float64)) / np.linalg.norm(base.astype(np.float64))
        assert moments.relative_norm(at) == pytest.approx(wanted, rel=1e-12)


def test_cosines_are_those_of_whole_task_vectors(tensors):
    base, experts = tensors
    vectors = [(expert - base).astype(np.float64) for expert in experts]
    moments = in_parts(base, experts)
    for a, b in combinations(range(EXPERTS), 2):
        wanted = vectors[a] @ vectors[b] / np.linalg.norm(vectors[a]) / np.linalg.norm(vectors[b])
        assert moments.cosine(a, b) == pytest.approx(wanted, rel=1e-12)
        assert moments.cosine(b, a) == moments.cosine(a, b)


def test_signs_are_compared_where_both_moved(tensors):
    base, experts = tensors
    signs = [np.sign(expert - base) for expert in experts]
    moments = in_parts(base, experts)
    for a, b in combinations(range(EXPERTS), 2):
        both = (signs[a] != 0) & (signs[b] != 0)
        assert 0 < both.mean() < 1
        assert moments.sign_agreement(a, b) == (signs[a] == signs[b])[both].mean()


def test_all_agree_where_all_moved_the_same_way(tensors):
    base, experts = tensors
    signs = np.sign([expert - base for expert in experts])
    moved = (signs != 0).all(axis=0)
    agreed = (signs == signs[0]).all(axis=0) & moved
    assert 0 < agreed.sum() < moved.sum()
    assert in_parts(base, experts).all_agree == agreed.sum() / moved.sum()


def test_how_a_tensor_is_cut_makes_no_difference(tensors):
    whole, parts = Moments.of(*tensors), in_parts(*tensors)
    np.testing.assert_allclose(whole.gram, parts.gram, rtol=1e-12)
    assert (whole.moved == parts.moved).all()
    assert (whole.agreed == parts.agreed).all()
    assert (whole.all_moved, whole.all_agreed) == (parts.all_moved, parts.all_agreed)


def test_the_products_with_the_base_are_those_of_the_weights(tensors):
    base, experts = (np.asarray(each, dtype=np.float64) for each in tensors)
    moments = in_parts(*tensors)
    for at, expert in enumerate(experts):
        wanted = base @ expert, base @ base, expert @ expert
        assert moments.with_base(at) == pytest.approx(wanted, rel=1e-6)


def test_what_does_not_move_has_no_direction():
    base = np.ones(5, dtype=np.float32)
    moments = Moments.of(base, [base, base + 1])
    assert moments.relative_norm(0) == 0
    assert moments.cosine(0, 1) is None
    assert moments.sign_agreement(0, 1) is None
    assert moments.all_agree is None


def test_a_base_of_zeros_has_no_norm_to_compare_with():
    base = np.zeros(5, dtype=np.float32)
    assert Moments.of(base, [base + 1]).relative_norm(0) is None


def test_small_task_vectors_of_many_elements_do_not_drown():
    """Sums of squares in float32 would stop growing."""
    base = np.zeros(1 << 21, dtype=np.float32)
    step = np.float32(1e-4)
    moments = Moments.of(base + 1, [base + 1 + step])
    assert moments.relative_norm(0) == pytest.approx(float(np.float32(1) + step - 1), rel=1e-6)


@pytest.mark.parametrize("ratio", [0.0, 0.5, 1.0, 2.0, 2.8])
def test_likeness_under_noise_is_what_its_length_says(ratio):
    random = np.random.default_rng(1)
    own = random.standard_normal(400_000)
    other = own + ratio * random.standard_normal(own.size)
    found = likeness(own @ other, own @ own, other @ other)
    assert found == pytest.approx(1 / (1 + ratio**2 / 2), abs=0.01)


def test_likeness_falls_with_direction_and_with_length():
    own = np.array([3.0, 4.0])
    assert likeness(own @ own, own @ own, own @ own) == 1
    assert likeness(0.0, own @ own, 7.0) == 0
    assert likeness(-(own @ own), own @ own, own @ own) == -1
    assert likeness(own @ (3 * own), own @ own, 9 * own @ own) == pytest.approx(2 * 3 / (1 + 9))
    assert likeness(0.0, 0.0, 0.0) == 1  # two tensors of zeros are the same
