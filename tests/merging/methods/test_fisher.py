from __future__ import annotations

import numpy as np
import pytest

from embedmerge.errors import EmbedmergeError
from embedmerge.merging.in_memory import merge_arrays

NAMES = ("base", "a", "b", "c")


def named(values):
    """Source name -> tensor name -> values, of one tensor or of a mapping of them for each source."""
    mappings = (each if isinstance(each, dict) else {"w": each} for each in values)
    return dict(zip(NAMES, mappings, strict=False))


def merged(tensors, fishers, weights=None, held=1 << 22, **parameters):
    found = merge_arrays(
        "fisher", named(tensors), weights, parameters=parameters, statistics=named(fishers), held=held
    )
    return found if isinstance(tensors[0], dict) else found["w"]


def weighted_average(tensors, fishers, weights):
    """Equation 2, elementwise."""
    known = [weight * fisher for weight, fisher in zip(weights, fishers, strict=True)]
    return sum(f * tensor for f, tensor in zip(known, tensors, strict=True)) / sum(known)


@pytest.fixture
def tensors():
    return list(np.random.default_rng(0).standard_normal((4, 5, 7)))


@pytest.fixture
def fishers():
    return list(np.exp(2 * np.random.default_rng(1).standard_normal((4, 5, 7))))


@pytest.mark.parametrize("held", [9, 1 << 22])
@pytest.mark.parametrize("weights", [[0.4, 0.3, 0.2, 0.1], [0.0, 0.5, 0.25, 0.25], [0.0, 0.9, 0.0, 0.1]])
def test_is_the_weighted_average_of_equation_2(tensors, fishers, weights, held):
    wanted = weighted_average(tensors, fishers, weights)
    np.testing.assert_allclose(merged(tensors, fishers, weights, held), wanted, atol=2e-6)


def test_without_weights_the_experts_count_alike_and_the_base_not(tensors, fishers):
    wanted = weighted_average(tensors[1:], fishers[1:], [1, 1, 1])
    np.testing.assert_allclose(merged(tensors, fishers), wanted, atol=2e-6)


@pytest.mark.parametrize("normalise", [False, True])
def test_with_constant_information_it_is_the_average(tensors, normalise):
    weights = [0.4, 0.3, 0.2, 0.1]
    average = sum(weight * tensor for weight, tensor in zip(weights, tensors, strict=True))
    found = merged(tensors, [np.full((5, 7), 3e-9)] * 4, weights, normalise=normalise)
    np.testing.assert_allclose(found, average, atol=1e-6)


def test_one_source_that_counts_alone_comes_out_as_it_is(tensors, fishers):
    np.testing.assert_allclose(merged(tensors, fishers, [0, 0, 1, 0]), tensors[2], atol=1e-6)
    assert merged(tensors, fishers, [1, 0, 0, 0]).tobytes() == np.float32(tensors[0]).tobytes()


def test_the_unit_of_the_information_does_not_matter(tensors, fishers):
    found = merged(tensors, [1e-12 * fisher for fisher in fishers])
    np.testing.assert_allclose(found, merged(tensors, fishers), atol=1e-6)


@pytest.mark.filterwarnings("error")
def test_what_no_source_knows_of_is_averaged_and_what_one_knows_of_is_its_own(tensors, fishers):
    fishers = [fisher.copy() for fisher in fishers]
    for source, fisher in enumerate(fishers):
        fisher[0] = 0
        fisher[1] = 50.0 * (source == 2)
    found = merged(tensors, fishers)
    np.testing.assert_allclose(found[0], np.mean([tensor[0] for tensor in tensors[1:]], axis=0), atol=1e-6)
    np.testing.assert_allclose(found[1], tensors[2][1], atol=1e-6)
    wanted = weighted_average(
        [tensor[2:] for tensor in tensors], [fisher[2:] for fisher in fishers], [0, 1, 1, 1]
    )
    np.testing.assert_allclose(found[2:], wanted, atol=2e-6)


def test_the_floor_is_a_millionth_of_the_mean_information():
    tensors = [np.zeros(4), np.full(4, 1.0), np.full(4, 3.0)]
    fishers = [np.zeros(4), np.array([1e-5, 0, 4, 4]), np.array([0, 1e-5, 4, 4])]
    floor = 1e-6 * np.mean([fishers[1].mean(), fishers[2].mean(), 0][:2])
    found = merged(tensors, fishers)
    wanted = weighted_average(tensors[1:], [np.maximum(fisher, floor) for fisher in fishers[1:]], [1, 1])
    np.testing.assert_allclose(found, wanted, rtol=1e-5)
    assert 1.1 < found[0] < 1.9 and 2.1 < found[1] < 2.9


def test_information_may_be_measured_by_its_norm_over_the_whole_model(tensors, fishers):
    random = np.random.default_rng(2)
    more = list(random.standard_normal((4, 6)))
    more_known = [scale * np.exp(random.standard_normal(6)) for scale in (1, 10, 100, 0.1)]
    both = [{"w": w, "b": b} for w, b in zip(tensors, more, strict=True)]
    known = [{"w": w, "b": b} for w, b in zip(fishers, more_known, strict=True)]
    norms = [np.linalg.norm(np.concatenate([each["w"].ravel(), each["b"]])) for each in known]
    weights = [0.4, 0.3, 0.2, 0.1]
    scaled = [weight / norm for weight, norm in zip(weights, norms, strict=True)]
    found = merged(both, known, weights, normalise=True)
    np.testing.assert_allclose(found["w"], weighted_average(tensors, fishers, scaled), atol=3e-6)
    np.testing.assert_allclose(found["b"], weighted_average(more, more_known, scaled), atol=3e-6)
    plain = merged(both, known, weights)
    np.testing.assert_allclose(plain["b"], weighted_average(more, more_known, weights), atol=3e-6)
    assert np.abs(plain["b"] - found["b"]).max() > 0.01


def test_negative_weights_stay_bounded(tensors, fishers):
    # Σ cᵢFᵢ is nearly zero in places: the quotient itself would go anywhere.
    weights = [0.3, 0.9, 0.3, -0.5]
    sizes = [abs(weight) * fisher for weight, fisher in zip(weights, fishers, strict=True)]
    signed = [
        np.sign(w) * size * (t - tensors[0]) for w, size, t in zip(weights, sizes, tensors, strict=True)
    ]
    wanted = tensors[0] + 2.0 * sum(signed) / sum(sizes)
    found = merged(tensors, fishers, weights)
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    furthest = np.max([np.abs(tensor - tensors[0]) for tensor in tensors], axis=0)
    assert (np.abs(found - tensors[0]) <= 2.0 * furthest + 1e-5).all()


def test_a_tensor_of_which_a_source_has_no_statistics_is_averaged(tensors, fishers):
    both = [{"w": tensor, "pooler.dense.bias": tensor[0]} for tensor in tensors]
    known = [{"w": fisher, "pooler.dense.bias": fisher[0]} for fisher in fishers]
    del known[3]["pooler.dense.bias"]
    found = merged(both, known, [0.4, 0.3, 0.2, 0.1])
    average = 0.4 * tensors[0][0] + 0.3 * tensors[1][0] + 0.2 * tensors[2][0] + 0.1 * tensors[3][0]
    np.testing.assert_allclose(found["pooler.dense.bias"], average, atol=1e-6)
    wanted = weighted_average(tensors, fishers, [0.4, 0.3, 0.2, 0.1])
    np.testing.assert_allclose(found["w"], wanted, atol=3e-6)


def test_the_order_of_the_experts_does_not_matter(tensors, fishers):
    found = merged([tensors[0], *tensors[:0:-1]], [fishers[0], *fishers[:0:-1]])
    np.testing.assert_allclose(found, merged(tensors, fishers), atol=1e-6)


def test_wants_statistics(tensors):
    with pytest.raises(
        EmbedmergeError, match=r"^method fisher: needs statistics of every source \(fisher\)$"
    ):
        merge_arrays("fisher", named(tensors))
