"""The methods that mergekit 0.1.5 has too, side by side with it, and why they differ where they do.

Nothing of mergekit (LGPL-3.0) is copied: its public functions are called, where it is installed.
"""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("mergekit")

import torch
from mergekit.merge_methods.api import merge_state_dicts
from mergekit.sparsify import RescaleNorm, SparsificationMethod, sparsify
from mergekit.sparsify import rescaled_masked_tensor as rescaled

from embedmerge.merging.in_memory import merge_arrays

# Every count of elements is whole at the shares that the tests keep, as both round to another side.
SHAPES = {
    "embeddings.word_embeddings.weight": (50, 20),
    "embeddings.LayerNorm.weight": (20,),
    "encoder.layer.0.attention.self.query.weight": (20, 20),
    "encoder.layer.0.attention.self.query.bias": (20,),
    "encoder.layer.1.intermediate.dense.weight": (40, 20),
    "encoder.layer.1.intermediate.dense.bias": (40,),
    "pooler.dense.weight": (20, 20),
}
NAMES = ("base", "legal", "code", "bio")
EXACT = 1e-6


def models(experts=3, *, drift=0.3, common=0.0, seed=0, shapes=SHAPES):
    """A base and experts around it: what all have moved, and what each has moved beside it."""
    random = np.random.default_rng(seed)

    def drawn():
        return {name: random.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}

    base, shared = drawn(), drawn()
    moved = [drawn() for _ in range(experts)]
    tuned = [
        {
            name: base[name] + np.float32(common) * shared[name] + np.float32(drift) * own[name]
            for name in base
        }
        for own in moved
    ]
    return dict(zip(NAMES, (base, *tuned), strict=False))


def theirs(method, sources, parameters=None, base="base"):
    tensors = {
        source: {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in arrays.items()}
        for source, arrays in sources.items()
    }
    merged = merge_state_dicts(tensors, method, parameters=parameters, base=base)
    return {name: tensor.numpy() for name, tensor in merged.items()}


def assert_equal(ours, others, atol=EXACT):
    assert ours.keys() == others.keys()
    for name in ours:
        np.testing.assert_allclose(ours[name], others[name], atol=atol, rtol=0, err_msg=name)


def per_expert(*weights):
    return dict(zip(NAMES[1:], weights, strict=False))


def test_linear_is_equal_with_weights_divided_by_their_sum():
    sources = models()
    found = merge_arrays("linear", sources, [0.4, 0.3, 0.2, 0.1])
    weight = dict(zip(NAMES, (4, 3, 2, 1), strict=True))
    assert_equal(found, theirs("linear", sources, {"weight": weight}, base=None))


@pytest.mark.parametrize("t", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("drift", [0.01, 1.0])  # 0.01: close enough for a straight line in both
def test_slerp_is_equal(t, drift):
    sources = models(1, drift=drift)
    assert_equal(merge_arrays("slerp", sources, [1 - t, t]), theirs("slerp", sources, {"t": t}))


def test_slerp_joins_zeros_by_a_straight_line_and_mergekit_by_a_quarter_circle():
    """A tensor of zeros has no direction; mergekit takes its cosine with any other for 0."""
    sources = {"base": {"bias": np.zeros(2, np.float32)}, "legal": {"bias": np.float32([3, 4])}}
    np.testing.assert_allclose(merge_arrays("slerp", sources, [0.5, 0.5])["bias"], [1.5, 2])
    other = theirs("slerp", sources, {"t": 0.5})["bias"]
    np.testing.assert_allclose(other, np.sin(np.pi / 4) * np.array([3, 4]), atol=EXACT)


def test_nuslerp_is_equal():
    sources = models(2)
    found = merge_arrays("nuslerp", sources, [0, 0.3, 0.7])
    assert_equal(found, theirs("nuslerp", sources, {"weight": per_expert(3, 7)}))


def test_nuslerp_by_rows_is_equal_to_mergekit_s_without_flatten_whose_row_wise_goes_by_columns():
    sources = models(2)
    given = {"weight": per_expert(0.3, 0.7), "nuslerp_flatten": False}
    by_rows = merge_arrays("nuslerp", sources, [0, 0.3, 0.7], parameters={"row_wise": True})
    assert_equal(by_rows, theirs("nuslerp", sources, given))

    turned = {source: {name: value.T for name, value in arrays.items()} for source, arrays in sources.items()}
    by_columns = theirs("nuslerp", turned, {**given, "nuslerp_row_wise": True})
    assert_equal(by_rows, {name: value.T for name, value in by_columns.items()})


@pytest.mark.parametrize("weights", [(1, 1, 1), (5, 3, 2)])
def test_multislerp_is_equal_although_ours_takes_no_step_on_the_sphere(weights):
    """mergekit projects on the tangent space at the mean, where the weighted projections add up to 0."""
    sources = models()
    shares = [0, *(weight / sum(weights) for weight in weights)]
    others = theirs("multislerp", sources, {"weight": per_expert(*weights)})
    assert_equal(merge_arrays("multislerp", sources, shares), others)


def test_karcher_is_equal_over_whole_weights_with_the_equal_weights_that_mergekit_has_alone():
    sources = models(3, drift=0.8)
    found = merge_arrays("karcher", sources, [0.25] * 4, parameters={"task_vectors": False})
    assert_equal(found, theirs("karcher", sources, base=None), atol=2e-6)


def test_task_arithmetic_is_equal_with_lambda_as_our_scale():
    sources = models()
    found = merge_arrays("task_arithmetic", sources, [0.1, 0.8, 0.4, -0.3], parameters={"scale": 0.7})
    given = {"weight": per_expert(0.8, 0.4, -0.3), "lambda": 0.7}
    assert_equal(found, theirs("task_arithmetic", sources, given))


@pytest.mark.parametrize("density", [0.2, 0.5, 1.0])
def test_ties_is_equal_by_tensor_with_weights_of_sum_1(density):
    sources = models()
    parameters = {"density": density, "scope": "tensor"}
    found = merge_arrays("ties", sources, [0, 0.5, 0.3, 0.2], parameters=parameters)
    assert_equal(found, theirs("ties", sources, {"weight": per_expert(5, 3, 2), "density": density}))


def test_ties_as_a_sum_is_equal_with_lambda_over_the_number_of_experts():
    """Our sum has factors of mean 1 and is gone λ far, so that it is n times `Σ wᵢ τᵢ`."""
    sources = models()
    parameters = {"density": 0.5, "scope": "tensor", "agg": "sum", "scale": 0.7 / 3}
    found = merge_arrays("ties", sources, [0.1, 0.8, 0.4, -0.3], parameters=parameters)
    given = {"weight": per_expert(0.8, 0.4, -0.3), "density": 0.5, "normalize": False, "lambda": 0.7}
    assert_equal(found, theirs("ties", sources, given))


def test_ties_keeps_one_element_more_where_the_share_is_not_whole_as_mergekit_rounds_down():
    shapes = {"w": (5, 3)}  # 0.5 of 15 elements: 8 here, 7 there
    sources = models(1, shapes=shapes)
    found = merge_arrays("ties", sources, [0, 1], parameters={"density": 0.5, "scope": "tensor"})
    other = theirs("ties", sources, {"weight": 1.0, "density": 0.5})
    kept = [np.count_nonzero(one["w"] != sources["base"]["w"]) for one in (found, other)]
    assert kept == [8, 7]


def test_ties_keeps_all_elements_that_equal_the_threshold_where_mergekit_takes_some_of_them():
    sources = {"base": {"w": np.zeros(4, np.float32)}, "legal": {"w": np.float32([1, 1, 1, 2])}}
    found = merge_arrays("ties", sources, [0, 1], parameters={"density": 0.5, "scope": "tensor"})
    other = theirs("ties", sources, {"weight": 1.0, "density": 0.5})
    assert (np.count_nonzero(found["w"]), np.count_nonzero(other["w"])) == (4, 2)


def test_ties_elects_no_sign_where_changes_cancel_out_and_mergekit_elects_plus():
    sources = {
        "base": {"w": np.float32([0, 0])},
        "legal": {"w": np.float32([1, 2])},
        "code": {"w": np.float32([-1, -1])},
    }
    found = merge_arrays("ties", sources, [0, 0.5, 0.5], parameters={"density": 1, "scope": "tensor"})
    np.testing.assert_array_equal(found["w"], [0, 2])
    np.testing.assert_array_equal(theirs("ties", sources, {"weight": 1.0})["w"], [1, 2])


def test_ties_averages_a_negative_weight_s_change_where_mergekit_divides_by_the_signed_sum():
    """Both 1 · 3 and -1 · -1 vote for plus: ours is their mean 2, mergekit's divisor 1 - 1 is taken for 1."""
    sources = {
        "base": {"w": np.float32([0])},
        "legal": {"w": np.float32([3])},
        "code": {"w": np.float32([-1])},
    }
    found = merge_arrays("ties", sources, [1, 0.5, -0.5], parameters={"density": 1, "scope": "tensor"})
    np.testing.assert_allclose(found["w"], [2])
    np.testing.assert_allclose(theirs("ties", sources, {"weight": per_expert(1, -1)})["w"], [4])


@pytest.mark.parametrize("rescale", [True, False])
def test_dare_linear_is_equal_where_nothing_is_dropped(rescale):
    sources = models()
    parameters = {"density": 1, "rescale": "l1" if rescale else "none", "scale": 1.5}
    found = merge_arrays("dare_linear", sources, [0.3, 0.5, 0.4, -0.2], parameters=parameters)
    given = {"weight": per_expert(0.5, 0.4, -0.2), "density": 1.0, "rescale": rescale, "lambda": 1.5}
    assert_equal(found, theirs("dare_linear", sources, given))


def test_dare_ties_is_equal_where_nothing_is_dropped():
    sources = models()
    parameters = {"density": 1, "rescale": "l1"}
    mean = merge_arrays("dare_ties", sources, [0, 0.5, 0.3, 0.2], parameters=parameters)
    assert_equal(mean, theirs("dare_ties", sources, {"weight": per_expert(5, 3, 2), "normalize": True}))
    parameters.update(agg="sum", scale=1 / 3)
    total = merge_arrays("dare_ties", sources, [0.1, 0.4, 0.3, 0.2], parameters=parameters)
    assert_equal(total, theirs("dare_ties", sources, {"weight": per_expert(0.4, 0.3, 0.2)}))


def test_dare_enlarges_what_it_keeps_to_the_tensor_s_l1_norm_as_mergekit_does_with_the_same_mask():
    sources = models(1)
    parameters = {"density": 0.4, "seed": 7}
    bare = merge_arrays("dare_linear", sources, [0, 1], parameters={**parameters, "rescale": "none"})
    found = merge_arrays("dare_linear", sources, [0, 1], parameters={**parameters, "rescale": "l1"})
    for name, base in sources["base"].items():
        change = torch.from_numpy(sources["legal"][name] - base)
        mask = torch.from_numpy((bare[name] != base).astype(np.float32))
        assert 0 < mask.sum() < mask.numel()
        wanted = base + rescaled(change, mask, RescaleNorm.l1).numpy()
        np.testing.assert_allclose(found[name], wanted, atol=EXACT)


def test_dare_drops_other_elements_than_mergekit_and_keeps_the_same_l1_norm():
    """mergekit draws from torch's generator, anew in every run; here it follows from seed, name and place."""
    sources = models(1)
    torch.manual_seed(0)
    others = theirs("dare_linear", sources, {"weight": 1.0, "density": 0.5})
    found = merge_arrays("dare_linear", sources, [0, 1], parameters={"density": 0.5, "rescale": "l1"})
    name = "embeddings.word_embeddings.weight"
    base, expert = sources["base"][name], sources["legal"][name]
    assert np.any((found[name] != base) != (others[name] != base))
    norms = [np.abs(one[name] - base).sum() for one in (found, others)]
    np.testing.assert_allclose(norms, np.abs(expert - base).sum(), rtol=1e-5)


def test_della_is_equal_where_nothing_is_dropped():
    sources = models()
    found = merge_arrays("della", sources, [0, 0.5, 0.3, 0.2], parameters={"density": 1, "rescale": "l1"})
    assert_equal(found, theirs("della", sources, {"weight": per_expert(5, 3, 2), "density": 1.0}))


def test_della_keeps_an_element_as_often_as_mergekit_does():
    """Other masks, equal probabilities: `d - ε + 2ε · rank / (columns - 1)`, by row."""
    row = np.linspace(0.1, 1, 10, dtype=np.float32)
    shape = (4000, 10)
    sources = {"base": {"w": np.zeros(shape, np.float32)}, "legal": {"w": np.tile(row, (shape[0], 1))}}
    parameters = {"density": 0.5, "epsilon": 0.3, "rescale": "none"}
    found = merge_arrays("della", sources, [0, 1], parameters=parameters)["w"]
    torch.manual_seed(0)
    given = torch.from_numpy(sources["legal"]["w"])
    other = sparsify(given, 0.5, SparsificationMethod.della_magprune, epsilon=0.3).numpy()
    kept = [(one != 0).mean(axis=0) for one in (found, other)]
    np.testing.assert_allclose(kept[0], kept[1], atol=0.04)  # more than three standard errors of each
    np.testing.assert_allclose(kept[0], np.linspace(0.2, 0.8, 10), atol=0.03)


@pytest.mark.parametrize("method", ["breadcrumbs", "breadcrumbs_ties"])
def test_breadcrumbs_is_equal(method):
    sources = models()
    elect = method == "breadcrumbs_ties"
    parameters = {"density": 0.8, "gamma": 0.05, "elect": elect}
    found = merge_arrays("breadcrumbs", sources, [0, 0.5, 0.3, 0.2], parameters=parameters)
    given = {"weight": per_expert(0.5, 0.3, 0.2), "density": 0.8, "gamma": 0.05, "normalize": elect}
    assert_equal(found, theirs(method, sources, given))


def test_breadcrumbs_keeps_small_tensors_in_both_since_mergekit_0_1_5():
    """Until 0.1.4 mergekit lost every tensor of which the share γ is no whole element, a bias of 50 too."""
    sources = models(1, shapes={"bias": (50,)})
    found = merge_arrays("breadcrumbs", sources, [0, 1], parameters={"density": 0.9, "gamma": 0.01})
    assert_equal(found, theirs("breadcrumbs", sources, {"weight": 1.0, "density": 0.9, "gamma": 0.01}))
    assert np.count_nonzero(found["bias"] != sources["base"]["bias"]) == 45


@pytest.mark.parametrize("filter_wise", [False, True])
def test_model_stock_is_equal_where_the_experts_agree(filter_wise):
    sources = models(drift=0.3, common=0.6)
    found = merge_arrays("model_stock", sources, parameters={"filter_wise": filter_wise})
    assert_equal(found, theirs("model_stock", sources, {"filter_wise": filter_wise}))


def test_model_stock_stays_at_the_base_where_experts_contradict_and_mergekit_goes_the_other_way():
    sources = {
        "base": {"w": np.float32([0, 0])},
        "legal": {"w": np.float32([1, 0.2])},
        "code": {"w": np.float32([-1, 1])},
    }
    np.testing.assert_array_equal(merge_arrays("model_stock", sources)["w"], [0, 0])
    assert theirs("model_stock", sources)["w"][1] < -1  # both experts say plus


@pytest.mark.parametrize("select_topk", [0.2, 1.0])
def test_sce_is_equal(select_topk):
    sources = models()
    found = merge_arrays("sce", sources, parameters={"select_topk": select_topk})
    assert_equal(found, theirs("sce", sources, {"select_topk": select_topk}))


def test_sce_weighs_small_changes_too_where_mergekit_takes_them_for_equal():
    """mergekit takes weights for equal where the mean squares add up to less than 1e-6, as in fine-tuning."""
    base = np.zeros(100, np.float32)
    sources = {"base": {"w": base}, "legal": {"w": base + 3e-4}, "code": {"w": base + 1e-4}}
    found = merge_arrays("sce", sources, parameters={"select_topk": 1})
    np.testing.assert_allclose(found["w"], (9 * 3e-4 + 1e-4) / 10, rtol=1e-5)
    np.testing.assert_allclose(theirs("sce", sources)["w"], 2e-4, rtol=1e-5)
