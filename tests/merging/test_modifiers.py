from __future__ import annotations

import numpy as np
import pytest

from embedmerge.errors import EmbedmergeError
from embedmerge.merging.in_memory import merge_arrays
from embedmerge.merging.modifiers import HELP, Modifiers

BLOCKS = 3
SHAPES = {
    "embeddings.word_embeddings.weight": (10, 6),
    "embeddings.LayerNorm.weight": (6,),
    **{f"encoder.layer.{block}.output.dense.weight": (6, 6) for block in range(BLOCKS)},
    **{f"encoder.layer.{block}.output.dense.bias": (6,) for block in range(BLOCKS)},
    "pooler.dense.weight": (6, 6),
}
# Depth by hand: embeddings and first block 0, middle block one half, last block and what is behind it 1.
DEPTHS = {name: 0.0 if "embeddings" in name else 1.0 for name in SHAPES}
DEPTHS |= {name: 0.5 * int(name.split(".")[2]) for name in SHAPES if name.startswith("encoder")}
# One method of each sort: any slice, rows, whole tensors, random, of the sources.
METHODS = ["task_arithmetic", "ties", "model_stock", "tsv_m", "dare_ties", "karcher"]


def model(seed, base=None):
    random = np.random.default_rng(seed)
    drawn = {name: random.standard_normal(shape).astype(np.float32) for name, shape in SHAPES.items()}
    return drawn if base is None else {name: base[name] + np.float32(0.1) * drawn[name] for name in SHAPES}


BASE = model(0)
SOURCES = {"base": BASE, "legal": model(1, BASE), "code": model(2, BASE)}


def merged(method, weights=(0.2, 0.5, 0.3), **parameters):
    return merge_arrays(method, SOURCES, weights, parameters=parameters)


def moved(tensors):
    return {name: tensor.astype(np.float64) - BASE[name] for name, tensor in tensors.items()}


def assert_moved(tensors, wanted):
    for name, task_vector in moved(tensors).items():
        np.testing.assert_allclose(task_vector, wanted[name], atol=1e-6, err_msg=name)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("factor", [0, 0.4, 2, -1])
def test_scale_is_a_factor_on_the_merged_task_vector(method, factor):
    plain = moved(merged(method))
    assert_moved(merged(method, scale=factor), {name: factor * plain[name] for name in SHAPES})


@pytest.mark.parametrize("method", METHODS)
def test_scale_may_differ_by_block_and_by_pattern(method):
    plain = moved(merged(method))
    found = merged(method, scale={"block 1": 0.5, "*.bias": 2, "pooler.*": [3.0, 4.0]})
    factors = dict.fromkeys(SHAPES, 1.0)
    factors |= {name: 2.0 for name in SHAPES if name.endswith(".bias")}
    factors |= {name: 0.5 for name in SHAPES if ".1." in name}
    factors["pooler.dense.weight"] = 4.0
    assert_moved(found, {name: factors[name] * plain[name] for name in SHAPES})


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("alpha", "top"), [(0.1, 1.0), (0.5, 0.5), (1.5, 0.2)])
def test_lines_rises_from_alpha_at_the_first_block_to_the_last(method, alpha, top):
    # arXiv 2410.17146, eq. 2: block l of L, counted from 1, is scaled by alpha + beta * (l - 1) / (L - 1).
    beta = top - alpha
    plain = moved(merged(method))
    wanted = {name: (alpha + beta * DEPTHS[name]) * plain[name] for name in SHAPES}
    assert_moved(merged(method, lines=alpha, lines_top=top), wanted)


def test_lines_leaves_the_last_block_as_it_is_unless_told_otherwise():
    plain, found = merged("task_arithmetic"), merged("task_arithmetic", lines=0.3)
    for name in SHAPES:
        assert (found[name].tobytes() == plain[name].tobytes()) == (DEPTHS[name] == 1)


def test_lines_and_scale_multiply():
    plain = moved(merged("ties"))
    wanted = {name: 2 * (0.5 + 0.5 * DEPTHS[name]) * plain[name] for name in SHAPES}
    assert_moved(merged("ties", lines=0.5, scale=2), wanted)


@pytest.mark.parametrize("method", [*METHODS, "dare_linear"])
@pytest.mark.parametrize("bound", [0, 0.3, 1])
def test_clamp_holds_every_element_near_the_furthest_expert(method, bound):
    weights = (-19, 10, 10)
    free, found = moved(merged(method, weights)), moved(merged(method, weights, clamp=bound))
    held_back = 0
    for name in SHAPES:
        furthest = np.maximum(*(np.abs(SOURCES[expert][name] - BASE[name]) for expert in ("legal", "code")))
        held_back += np.count_nonzero(np.abs(free[name]) > bound * furthest + 1e-6)
        wanted = np.sign(free[name]) * np.minimum(np.abs(free[name]), bound * furthest)
        np.testing.assert_allclose(found[name], wanted, atol=1e-6)
    assert held_back


def test_clamp_may_differ_and_bounds_nothing_where_no_selector_fits():
    weights = (-2, 1.5, 1.5)
    free = merged("task_arithmetic", weights)
    found = merged("task_arithmetic", weights, clamp={"block 0": 0.0, "*.1.*": 1e3})
    for name in SHAPES:
        wanted = BASE[name] if ".0." in name else free[name]
        np.testing.assert_allclose(found[name], wanted, atol=1e-6)


def test_what_is_scaled_is_clamped_afterwards():
    found = moved(merged("task_arithmetic", scale=100, clamp=0.5))
    for name in SHAPES:
        furthest = np.maximum(*(np.abs(SOURCES[expert][name] - BASE[name]) for expert in ("legal", "code")))
        assert (np.abs(found[name]) <= 0.5 * furthest + 1e-6).all()
        assert (np.abs(found[name]) >= 0.5 * furthest - 1e-6).mean() > 0.9


@pytest.mark.parametrize("method", METHODS)
def test_excluded_tensors_are_averaged_and_the_others_are_not_touched(method):
    weights = (0.2, 0.5, 0.3)
    parameters = {"scope": "tensor"} if method == "ties" else {}
    plain = merged(method, weights, **parameters)
    found = merged(method, weights, exclude=["block 1", "*embeddings*"], **parameters)
    for name in SHAPES:
        if "embeddings" in name or ".1." in name:
            average = sum(
                weight * source[name].astype(np.float64)
                for weight, source in zip(weights, SOURCES.values(), strict=True)
            )
            np.testing.assert_allclose(found[name], average, atol=1e-6)
        else:
            assert found[name].tobytes() == plain[name].tobytes()


def test_excluded_tensors_take_no_part_in_a_threshold_of_the_model():
    name = "embeddings.word_embeddings.weight"
    without = {
        source: {key: tensors[key] for key in SHAPES if key != name} for source, tensors in SOURCES.items()
    }
    wanted = merge_arrays("ties", without, (0.2, 0.5, 0.3))
    found = merged("ties", exclude=name)
    assert all(found[key].tobytes() == wanted[key].tobytes() for key in wanted)
    assert any(merged("ties")[key].tobytes() != wanted[key].tobytes() for key in wanted)


def test_an_average_is_scaled_and_clamped_as_any_other_result():
    plain = moved(merged("linear"))
    assert_moved(merged("ties", exclude="*", scale=0.5), {name: 0.5 * plain[name] for name in SHAPES})


def test_nothing_is_changed_where_nothing_is_asked_for():
    assert Modifiers.parse({}) == Modifiers()
    assert Modifiers().changed == {}
    for method in METHODS:
        plain, found = merged(method), merged(method, scale=1, lines=1, exclude=[])
        assert all(plain[name].tobytes() == found[name].tobytes() for name in SHAPES)


def test_what_was_changed_is_told_as_it_is_read():
    given = {"scale": {"block 0": 0.5}, "lines": 0.2, "lines_top": 0.9, "clamp": 1, "exclude": ["*.bias"]}
    modifiers = Modifiers.parse(given)
    assert modifiers.changed == given
    assert Modifiers.parse(modifiers.changed) == modifiers
    assert given.keys() == HELP.keys()


def test_one_selector_may_stand_alone():
    assert Modifiers.parse({"exclude": "*.bias"}).exclude == ("*.bias",)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"scale": "much"}, "scale: 'much' is no finite number"),
        ({"lines": [0.1, 0.5]}, "lines: must be one number"),
        ({"lines": 0.1, "lines_top": {"*": 1}}, "lines_top: must be one number"),
        ({"lines_top": 1}, "lines_top: says nothing without `lines`"),
        ({"clamp": -0.5}, "clamp: must be at least 0, not -0.5"),
        ({"clamp": {"*": [0, -1]}}, "clamp: must be at least 0"),
        ({"exclude": 3}, "exclude: 3 is no list of name patterns"),
        ({"exclude": ["*", 3]}, "exclude: "),
        ({"exclude": {"*": 1}}, "exclude: "),
    ],
)
def test_what_a_modifier_must_not_have_is_refused_in_one_line(given, words):
    with pytest.raises(EmbedmergeError) as caught:
        Modifiers.parse(given)
    assert words in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
