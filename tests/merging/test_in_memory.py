from __future__ import annotations

import numpy as np
import pytest
from tiny_models import NAMES, SHAPES, merged, statistics_for, tiny_sources

from embedmerge.errors import EmbedmergeError
from embedmerge.merging.in_memory import merge_arrays


@pytest.fixture
def sources():
    return tiny_sources(0, 2)


def test_tensors_keep_names_order_and_shapes_and_come_in_float32(sources):
    found = merge_arrays("linear", sources, [0.2, 0.5, 0.3])
    assert list(found) == list(SHAPES)
    assert [tensor.shape for tensor in found.values()] == list(SHAPES.values())
    assert {tensor.dtype for tensor in found.values()} == {np.dtype(np.float32)}


def test_weights_count_in_the_order_of_the_sources(sources):
    found = merge_arrays("linear", sources, [0.2, 0.5, 0.3])
    for name in SHAPES:
        base, legal, code = (source[name] for source in sources.values())
        np.testing.assert_allclose(found[name], 0.2 * base + 0.5 * legal + 0.3 * code, atol=1e-6)


def test_without_weights_the_experts_count_alike_and_the_base_does_not(sources):
    found, wanted = merge_arrays("ties", sources), merge_arrays("ties", sources, [0.0, 0.5, 0.5])
    assert all(found[name].tobytes() == wanted[name].tobytes() for name in SHAPES)


def test_the_blocks_are_counted_from_the_names(sources):
    # LiNeS: the second and last of two blocks is scaled by 1, the first not at all.
    found = merge_arrays("task_arithmetic", sources, parameters={"lines": 0})
    plain = merge_arrays("task_arithmetic", sources)
    for name in SHAPES:
        deep = ".1." in name or "pooler" in name
        wanted = plain[name] if deep else sources["base"][name]
        np.testing.assert_allclose(found[name], wanted, atol=1e-7)


@pytest.mark.parametrize("dtype", [np.float16, np.float64, np.int64])
def test_values_of_any_type_are_taken_as_float32(dtype):
    base, legal = {"w": np.array([1, 2], dtype)}, {"w": np.array([3, 6], dtype)}
    found = merge_arrays("linear", {"base": base, "legal": legal}, [0.5, 0.5])["w"]
    assert found.dtype == np.float32
    assert found.tolist() == [2, 4]


def test_views_and_arrays_in_any_order_of_memory_are_read_right():
    tensor = np.arange(12, dtype=np.float32).reshape(3, 4)
    for seen in (tensor.T, np.asfortranarray(tensor), tensor[:, ::-1], tensor[::2]):
        found = merge_arrays("linear", {"base": {"w": 0 * seen}, "legal": {"w": seen}}, [0.5, 0.5])["w"]
        np.testing.assert_array_equal(found, seen / 2)


def test_what_is_given_is_not_written_to(sources):
    before = {
        name: {key: tensor.copy() for key, tensor in source.items()} for name, source in sources.items()
    }
    for method in ("linear", "ties", "tsv_m", "fisher", "karcher"):
        merged(method, sources, [0.2, 0.5, 0.3])
    for name, source in sources.items():
        assert all(source[key].tobytes() == before[name][key].tobytes() for key in SHAPES)


def test_a_matrix_of_statistics_is_handed_over_whole_and_a_diagonal_in_slices(sources):
    for method in ("regmean", "fisher"):
        known = statistics_for(method, sources, seed=3)
        whole = merge_arrays(method, sources, statistics=known)
        cut = merge_arrays(method, sources, statistics=known, held=50)
        assert all(whole[name].tobytes() == cut[name].tobytes() for name in SHAPES)


@pytest.mark.parametrize(
    ("method", "weights", "parameters", "words"),
    [
        ("tiess", None, {}, "'tiess'.*ties"),
        ("ties", None, {"densty": 0.1}, "method ties: no parameter 'densty'.*density"),
        ("ties", None, {"density": 2}, "between 0 and 1, not 2"),
        ("ties", None, {"scale": "much"}, "scale: 'much' is no finite number"),
        ("ties", [0.5, 0.5], {}, "2 given for 3 sources"),
        ("ties", [0.5, 0.5, 0.5], {}, "must be 1"),
        ("slerp", None, {}, "method slerp: wants the base and exactly 1"),
        ("fisher", None, {}, "method fisher: needs statistics"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(sources, method, weights, parameters, words):
    with pytest.raises(EmbedmergeError, match=words) as caught:
        merge_arrays(method, sources, weights, parameters=parameters)
    assert len(str(caught.value).splitlines()) == 1


def test_no_tensors_give_none():
    assert merge_arrays("ties", {name: {} for name in NAMES[:2]}) == {}
