from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import (
    LINEARS,
    NAMES,
    SHAPES,
    allowed,
    average,
    merged,
    statistics_for,
    tiny_model,
    tiny_sources,
)

from embedmerge.merging.in_memory import merge_arrays
from embedmerge.merging.registry import method, methods

PROPERTY = settings(max_examples=5, deadline=None, derandomize=True)
SEEDS = st.integers(0, 10_000)
BASE_WEIGHTS = st.floats(0, 0.8)
EXPERTS = st.integers(1, 3)
SCALES = st.sampled_from([1e-3, 0.1, 2.0])  # of the task vectors, the base being of about 1

# What makes each method keep all that it is given. Empty: it does so as it stands.
KEEP_ALL = {
    "ties": {"density": 1},
    "dare_linear": {"density": 1},
    "dare_ties": {"density": 1},
    "della": {"density": 1},
    "breadcrumbs": {"density": 1, "gamma": 0},
    "localize_and_stitch": {"density": 1},
    "dc_merge": {"density": 1},
    "iso_linear": {"evenness": 0},
}
# Methods by which one expert does not come out as it is, and why.
CHANGES_ONE_EXPERT = {
    "iso_c": "makes the singular values equal",
    "iso_cts": "is Iso-C for one expert",
    "pcb": "drops the least balanced element and pulls in the largest",
}
# Methods in whose result the sum of the experts' weights is no mere factor, and why.
NOT_PROPORTIONAL = {
    "slerp": "the weight is a share of an angle",
    "fisher": "the base has information of its own",
    "regmean": "the base has inputs of its own",
}


def methods_but(*exceptions):
    return pytest.mark.parametrize("name", [name for name in methods() if name not in exceptions])


every_method = methods_but()


def some_weights(experts, base=BASE_WEIGHTS):
    """Weights of the base and of experts that count for something, with sum 1."""

    def normalised(drawn):
        left, units = drawn
        return [left, *((1 - left) * unit / sum(units) for unit in units)]

    units = st.lists(st.integers(1, 9), min_size=experts, max_size=experts)
    return st.tuples(base, units).map(normalised)


def assert_equal(found, wanted, scale=1.0):
    """The same up to rounding to float32."""
    assert found.keys() == wanted.keys()
    for key, tensor in wanted.items():
        np.testing.assert_allclose(found[key], tensor, atol=2e-6 * max(scale, 1), rtol=2e-6, err_msg=key)


def assert_sound(found):
    for key, shape in SHAPES.items():
        assert found[key].shape == shape
        assert found[key].dtype == np.float32
        assert np.isfinite(found[key]).all()


@every_method
@PROPERTY
@given(SEEDS, EXPERTS, st.data())
def test_experts_that_equal_the_base_give_the_base(name, seed, experts, data):
    base = tiny_model(seed)
    sources = dict.fromkeys(NAMES[: 1 + allowed(name, experts)], base)
    weights = data.draw(some_weights(len(sources) - 1))
    assert_equal(merged(name, sources, weights), base)


@every_method
@PROPERTY
@given(SEEDS, EXPERTS, SCALES)
def test_where_no_expert_counts_the_base_comes_out(name, seed, experts, scale):
    sources = tiny_sources(seed, allowed(name, experts), scale)
    assert_equal(merged(name, sources, [1.0] + [0.0] * (len(sources) - 1)), sources["base"])


@every_method
@PROPERTY
@given(SEEDS, SCALES)
def test_one_expert_with_weight_1_comes_back(name, seed, scale):
    sources = tiny_sources(seed, allowed(name, 1), scale)
    others = [0.0] * (len(sources) - 2)
    if name == "model_stock":  # which needs two experts that agree
        sources, others = {**sources, "code": sources["legal"]}, [0.0]
    found = merged(name, sources, [0.0, 1.0, *others], parameters=KEEP_ALL.get(name))
    same = all(np.allclose(found[key], sources["legal"][key], atol=5e-6 * max(scale, 1)) for key in SHAPES)
    assert same != (name in CHANGES_ONE_EXPERT)


@methods_but("slerp", "nuslerp")  # which take no third expert
@PROPERTY
@given(SEEDS, SCALES, st.data())
def test_an_expert_that_counts_for_nothing_has_no_influence(name, seed, scale, data):
    sources = tiny_sources(seed, 3, scale)
    known = statistics_for(name, sources)
    weights = data.draw(some_weights(2))
    without = {key: sources[key] for key in ("base", "legal", "bio")}
    wanted = merged(name, without, weights, known)
    base, legal, bio = weights
    found = merged(name, sources, [base, legal, 0.0, bio], known)
    assert_equal(found, wanted, scale)


@methods_but(*(name for name, spec in methods().items() if spec.ordered))
@PROPERTY
@given(SEEDS, st.integers(2, 4), SCALES, st.data())
def test_the_order_of_the_experts_does_not_matter(name, seed, experts, scale, data):
    experts = allowed(name, experts)
    order = data.draw(st.permutations(range(1, experts + 1)))
    sources, weights = tiny_sources(seed, experts, scale), data.draw(some_weights(experts))
    known = statistics_for(name, sources)
    permuted = {NAMES[row]: sources[NAMES[row]] for row in (0, *order)}
    found = merged(name, permuted, [weights[row] for row in (0, *order)], known)
    assert_equal(found, merged(name, sources, weights, known), scale)


@pytest.mark.parametrize(
    ("name", "parameter"),
    [
        (name, key)
        for name, spec in methods().items()
        for key, each in spec.parameters.items()
        if each.by_expert
    ],
)
@PROPERTY
@given(SEEDS, st.permutations(range(1, 4)), st.data())
def test_nor_where_each_expert_has_a_number_of_its_own(name, parameter, seed, order, data):
    sources, weights = tiny_sources(seed, 3), data.draw(some_weights(3))
    own = {"expert code": {"block 0": 0.9, "*": 0.5}, "expert bio": [0.1, 0.7], "*": 0.3}
    permuted = {NAMES[row]: sources[NAMES[row]] for row in (0, *order)}
    found = merged(name, permuted, [weights[row] for row in (0, *order)], parameters={parameter: own})
    assert_equal(found, merged(name, sources, weights, parameters={parameter: own}))


def test_the_order_matters_where_a_method_says_so():
    for name in (name for name, spec in methods().items() if spec.ordered):
        base, legal, code = tiny_sources(0, 2).values()
        found = merged(name, {"base": base, "legal": legal, "code": code})
        other = merged(name, {"base": base, "code": code, "legal": legal})
        assert any(np.abs(found[key] - other[key]).max() > 1e-3 for key in SHAPES)


@methods_but(*NOT_PROPORTIONAL)
@PROPERTY
@given(SEEDS, EXPERTS, SCALES, st.floats(0.1, 3), st.data())
def test_the_sum_of_the_experts_weights_is_a_factor(name, seed, experts, scale, factor, data):
    sources = tiny_sources(seed, allowed(name, experts), scale)
    shares = data.draw(some_weights(len(sources) - 1, base=st.just(0.0)))[1:]
    whole = merged(name, sources, [0.0, *shares])
    found = merged(name, sources, [1 - factor, *(factor * share for share in shares)])
    wanted = {key: base + factor * (whole[key] - base) for key, base in sources["base"].items()}
    assert_equal(found, wanted, 3 * scale)


@every_method
@PROPERTY
@given(SEEDS, SCALES)
def test_affine_is_what_adds_up_what_each_expert_gives_alone(name, seed, scale):
    sources = tiny_sources(seed, allowed(name, 3), scale)
    base, experts = sources["base"], list(sources)[1:]
    weights = [0.5, -0.2, 0.4][: len(experts)]
    if method(name).statistics or len(experts) < 3:  # experts share statistics; of two there is one mixture
        assert not method(name).affine
        return
    alone = [merged(name, sources, [0.0, *(float(each == own) for each in experts)]) for own in experts]
    found = merged(name, sources, [1 - sum(weights), *weights])
    apart = 0.0
    for key in LINEARS:
        moves = (weight * (each[key] - base[key]) for weight, each in zip(weights, alone, strict=True))
        apart = max(apart, float(np.abs(found[key] - base[key] - sum(moves)).max()))
    assert (apart < 1e-5 * max(scale, 1)) == method(name).affine


@every_method
@PROPERTY
@given(SEEDS, EXPERTS, SCALES, st.data())
def test_results_are_finite_float32_of_the_right_shape(name, seed, experts, scale, data):
    sources = tiny_sources(seed, allowed(name, experts), scale)
    assert_sound(merged(name, sources, data.draw(some_weights(len(sources) - 1))))


@every_method
@PROPERTY
@given(SEEDS, EXPERTS, st.data())
def test_negative_weights_and_weights_above_1_stay_bounded(name, seed, experts, data):
    sources = tiny_sources(seed, allowed(name, experts))
    count = len(sources) - 1
    weights = data.draw(st.lists(st.floats(-2, 3), min_size=count, max_size=count))
    found = merged(name, sources, [1 - sum(weights), *weights])
    assert_sound(found)
    reach = 1 + sum(map(abs, weights)) + abs(1 - sum(weights))
    for key, base in sources["base"].items():
        longest = sum(np.linalg.norm(sources[expert][key] - base) for expert in list(sources)[1:])
        if name != "slerp":  # which moves along an arc around zero, not around the base
            assert np.linalg.norm(found[key] - base) < 4 * reach * longest


@every_method
def test_task_vectors_that_are_huge_tiny_or_opposite_stay_finite(name):
    base = tiny_model(0)
    for scales in ([1e-30, 1e-30, 1e-30], [1e15, 1e-15, 1.0], [1.0, -1.0, 1.0], [1e-42, 0.0, 0.0]):
        experts = [tiny_model(1, base, scale) for scale in scales[: allowed(name, 3)]]
        assert_sound(merged(name, dict(zip(NAMES, [base, *experts], strict=False)), default_weights(experts)))


@every_method
@pytest.mark.parametrize("weight", [1e-20, 1e-45, 1e-300])
def test_a_weight_next_to_nothing_is_divided_by_nowhere(name, weight):
    sources = tiny_sources(0, allowed(name, 2))
    others = [0.5] * (len(sources) - 2)
    assert_sound(merged(name, sources, [1 - sum(others), weight, *others]))


def default_weights(experts):
    return [0.0] + [1 / len(experts)] * len(experts)


@pytest.mark.parametrize("name", [name for name, spec in methods().items() if spec.matrices])
@PROPERTY
@given(SEEDS, st.integers(2, 3), st.data())
def test_methods_for_matrices_average_tables_biases_and_norms(name, seed, experts, data):
    sources, weights = tiny_sources(seed, experts), data.draw(some_weights(experts))
    found = merged(name, sources, weights)
    for key in SHAPES:
        plain = average(sources, weights, key)
        if key in LINEARS:
            assert np.abs(found[key] - plain).max() > 1e-4
        else:
            np.testing.assert_allclose(found[key], plain, atol=1e-6)


ODD_SHAPES = {
    "scalar": (),
    "one.bias": (1,),
    "encoder.layer.0.one.weight": (1, 1),
    "encoder.layer.0.row.weight": (1, 5),
    "encoder.layer.0.column.weight": (5, 1),
    "encoder.layer.1.none.bias": (0,),
    "encoder.layer.1.no_rows.weight": (0, 3),
    "encoder.layer.1.no_columns.weight": (3, 0),
    "embeddings.one.weight": (1, 1),
    "embeddings.no_rows.weight": (0, 4),
    "embeddings.no_columns.weight": (4, 0),
    "conv.weight": (2, 3, 4),
    "zeros.weight": (3, 4),
    "zeros.bias": (4,),
}


@every_method
@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("still", [False, True], ids=["moved", "still"])
def test_empty_single_and_zero_tensors_are_merged_as_any_other(name, still):
    random = np.random.default_rng(0)
    base = {key: np.float32(0 * random.standard_normal(shape)) for key, shape in ODD_SHAPES.items()}
    moved = [
        {
            key: np.float32(random.standard_normal(shape) * (not still and "zeros" not in key))
            for key, shape in ODD_SHAPES.items()
        }
        for _ in range(allowed(name, 2))
    ]
    sources = dict(zip(NAMES, [base, *moved], strict=False))
    statistics = None
    if method(name).statistics == "fisher":
        statistics = {
            source: {key: np.ones(shape) for key, shape in ODD_SHAPES.items()} for source in sources
        }
    elif method(name).statistics == "gram":
        matrices = {key: np.eye(shape[1]) for key, shape in ODD_SHAPES.items() if len(shape) == 2}
        statistics = dict.fromkeys(sources, matrices)
    found = merge_arrays(name, sources, default_weights(moved), statistics=statistics)
    for key, shape in ODD_SHAPES.items():
        assert found[key].shape == shape
        assert found[key].dtype == np.float32
        assert np.isfinite(found[key]).all()
        if still or "zeros" in key:
            assert not found[key].any()


PRINT_DIGESTS = """
import hashlib, sys
sys.path.insert(0, sys.argv[1])
from tiny_models import allowed, merged, tiny_sources
from embedmerge.merging.registry import methods
for name in methods():
    found = merged(name, tiny_sources(0, allowed(name, 3)), None)
    print(name, hashlib.sha256(b"".join(tensor.tobytes() for tensor in found.values())).hexdigest())
"""


def test_results_are_the_same_bits_in_every_process():
    def digests(hash_seed):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        command = [sys.executable, "-c", PRINT_DIGESTS, str(Path(__file__).parent)]
        ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        return dict(line.split() for line in ended.stdout.splitlines())

    def digest(tensors):
        return hashlib.sha256(b"".join(tensor.tobytes() for tensor in tensors.values())).hexdigest()

    here = {name: digest(merged(name, tiny_sources(0, allowed(name, 3)))) for name in methods()}
    assert digests("1") == digests("2") == here


@PROPERTY
@given(SEEDS, EXPERTS, SCALES, st.data())
def test_linear_over_all_sources_is_task_arithmetic(seed, experts, scale, data):
    sources, weights = tiny_sources(seed, experts, scale), data.draw(some_weights(experts))
    assert_equal(merged("linear", sources, weights), merged("task_arithmetic", sources, weights), scale)


@PROPERTY
@given(SEEDS, st.integers(2, 4))
def test_no_step_improves_on_the_closed_form_of_wudi(seed, experts):
    # The loss is the sum of |(M - T) T'|^2 / |T|^2 over the experts' task vectors T.
    def gradient(matrix, task_vectors):
        return 2 * sum((matrix - T) @ T.T @ T / np.sum(T**2) for T in task_vectors)

    sources = tiny_sources(seed, experts)
    found = merged("wudi", sources)
    for key in LINEARS:
        base = sources["base"][key]
        task_vectors = [sources[name][key].astype(np.float64) - base for name in NAMES[1 : experts + 1]]
        left = np.linalg.norm(gradient(found[key].astype(np.float64) - base, task_vectors))
        assert left < 1e-5 * np.linalg.norm(gradient(sum(task_vectors) / experts, task_vectors))


@PROPERTY
@given(SEEDS, EXPERTS, SCALES, st.data())
def test_regmean_of_inputs_without_a_preferred_direction_is_the_average(seed, experts, scale, data):
    sources, weights = tiny_sources(seed, experts, scale), data.draw(some_weights(experts))
    same = {key: np.eye(shape[-1]) for key, shape in SHAPES.items() if len(shape) == 2}
    found = merged("regmean", sources, weights, dict.fromkeys(sources, same))
    assert_equal(found, {key: average(sources, weights, key) for key in SHAPES}, scale)


@PROPERTY
@given(SEEDS, EXPERTS, SCALES, st.data())
def test_fisher_of_constant_information_is_the_average(seed, experts, scale, data):
    sources, weights = tiny_sources(seed, experts, scale), data.draw(some_weights(experts))
    same = {key: np.full(shape, 0.3, np.float32) for key, shape in SHAPES.items()}
    for normalise in (False, True):
        parameters = {"normalise": normalise}
        found = merged("fisher", sources, weights, dict.fromkeys(sources, same), parameters=parameters)
        assert_equal(found, {key: average(sources, weights, key) for key in SHAPES}, scale)


@pytest.mark.parametrize(("name", "experts"), [("dare_linear", 2), ("della", 1), ("dare_ties", 1)])
@pytest.mark.parametrize("density", [0.3, 0.7])
def test_the_mean_over_the_seeds_is_task_arithmetic(name, experts, density):
    sources = tiny_sources(0, experts)
    weights = [0.1, *[0.9 / experts] * experts]
    seeds = 120
    runs = [
        merged(name, sources, weights, parameters={"density": density, "seed": seed}) for seed in range(seeds)
    ]
    # Of della the smallest probability of being kept is the density less its epsilon.
    least = density - 0.15 * (name == "della")
    for key, base in sources["base"].items():
        mean = sum(run[key].astype(np.float64) for run in runs) / seeds
        task_vectors = [sources[NAMES[row]][key].astype(np.float64) - base for row in range(1, experts + 1)]
        moved = sum(weight * tau for weight, tau in zip(weights[1:], task_vectors, strict=True))
        squares = sum((weight * tau) ** 2 for weight, tau in zip(weights[1:], task_vectors, strict=True))
        deviation = np.sqrt(squares * (1 - least) / least / seeds)
        assert (np.abs(mean - base - moved) < 5 * deviation + 1e-6).all()


@pytest.mark.parametrize(("elements", "kept"), [(64, 58), (99, 90), (100, 90), (1000, 900), (5, 5), (1, 1)])
def test_breadcrumbs_keep_most_of_a_small_tensor(elements, kept):
    tau = np.random.default_rng(0).standard_normal(elements).astype(np.float32)
    sources = {"base": {"w": np.zeros(elements, np.float32)}, "legal": {"w": tau}}
    found = merge_arrays("breadcrumbs", sources)["w"]
    assert np.count_nonzero(found) == kept
    np.testing.assert_array_equal(found[found != 0], tau[found != 0])
    assert np.abs(found).max() == np.sort(np.abs(tau))[::-1][elements // 100]


@PROPERTY
@given(SEEDS, st.integers(2, 4))
def test_model_stock_leaves_the_base_only_as_far_as_the_experts_agree(seed, experts):
    sources = tiny_sources(seed, experts)
    base, names = sources["base"], NAMES[1 : experts + 1]
    same = {"base": base, **dict.fromkeys(names, sources["legal"])}
    assert_equal(merged("model_stock", same), sources["legal"])
    rows = np.eye(experts, 8, dtype=np.float32)
    apart = {name: {"w": rows[row] * (1 + row)} for row, name in enumerate(names)}
    assert not merge_arrays("model_stock", {"base": {"w": np.zeros(8)}, **apart})["w"].any()
