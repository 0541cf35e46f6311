from __future__ import annotations

import numpy as np
import pytest

from embedmerge.errors import EmbedmergeError
from embedmerge.merging.in_memory import merge_arrays


def merged(base, expert, t, **options):
    return merge_arrays("slerp", {"base": {"w": base}, "a": {"w": expert}}, [1 - t, t], **options)["w"]


def along_the_arc(base, expert, t):
    """Rotates the base by tΩ in the plane of both; lengths are carried along as SLERP's formula does."""
    first, second = base.astype(np.float64).ravel(), expert.astype(np.float64).ravel()
    one, other = first / np.linalg.norm(first), second / np.linalg.norm(second)
    omega = np.arccos(one @ other)
    mixed = np.sin((1 - t) * omega) * first + np.sin(t * omega) * second
    return (mixed / np.sin(omega)).reshape(base.shape)


@pytest.fixture
def pair():
    random = np.random.default_rng(0)
    return [random.standard_normal((6, 8)).astype(np.float32) for _ in range(2)]


@pytest.mark.parametrize("t", [0.1, 0.5, 0.7, 1.2, -0.3])
@pytest.mark.parametrize("held", [9, 1 << 22])
def test_is_the_arc_of_whole_vectors(pair, t, held):
    np.testing.assert_allclose(merged(*pair, t, held=held), along_the_arc(*pair, t), atol=1e-6)


def test_keeps_the_length_and_divides_the_angle():
    base, expert = np.float32([2, 0, 0]), np.float32([0, 2, 0])
    third = merged(base, expert, 1 / 3)
    np.testing.assert_allclose(third, [2 * np.cos(np.pi / 6), 2 * np.sin(np.pi / 6), 0], atol=1e-6)


@pytest.mark.parametrize(("t", "chosen"), [(0.0, 0), (1.0, 1)])
def test_the_ends_of_the_arc_are_the_sources(pair, t, chosen):
    assert merged(*pair, t).tobytes() == pair[chosen].tobytes()


@pytest.mark.parametrize("cosine", [0.9994, 0.9996, -0.9994, -0.9996])
def test_is_a_straight_line_beyond_a_cosine_of_0_9995(cosine):
    base, expert = np.float64([1, 0]), np.array([cosine, np.sqrt(1 - cosine**2)])
    wanted = 0.7 * base + 0.3 * expert if abs(cosine) > 0.9995 else along_the_arc(base, expert, 0.3)
    np.testing.assert_allclose(merged(base, expert, 0.3), wanted, rtol=1e-5)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("factor", [1, -1, 0, 3])
def test_parallel_antipodal_and_zero_tensors_are_averaged(pair, factor):
    base = pair[0]
    np.testing.assert_allclose(merged(base, factor * base, 0.25), (0.75 + 0.25 * factor) * base, atol=1e-6)
    np.testing.assert_allclose(merged(factor * base, base, 0.25), (0.25 + 0.75 * factor) * base, atol=1e-6)


def test_each_tensor_has_its_own_angle(pair):
    sources = {
        "base": {"v": pair[0], "w": pair[0]},
        "a": {"v": pair[1], "w": pair[0] + 3 * pair[1]},
    }
    both = merge_arrays("slerp", sources, [0.5, 0.5])
    np.testing.assert_allclose(both["v"], along_the_arc(pair[0], pair[1], 0.5), atol=1e-6)
    np.testing.assert_allclose(both["w"], along_the_arc(pair[0], pair[0] + 3 * pair[1], 0.5), atol=1e-6)


def test_is_for_one_expert(pair):
    sources = {name: {"w": pair[0]} for name in ("base", "a", "b")}
    with pytest.raises(EmbedmergeError, match="exactly 1 of its experts, not 2"):
        merge_arrays("slerp", sources, [0.2, 0.4, 0.4])
