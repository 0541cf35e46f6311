from __future__ import annotations

import numpy as np
import pytest

from embedmerge.errors import EmbedmergeError
from embedmerge.merging.in_memory import merge_arrays

NAMES = ("base", "a", "b", "c")
SHAPES = [(4, 7), (7, 4), (5, 5)]


def named(values, name="w"):
    return {source: {name: each} for source, each in zip(NAMES, values, strict=False)}


def merged(tensors, grams, weights=None, **parameters):
    found = merge_arrays(
        "regmean", named(tensors), weights, parameters=parameters, statistics=named(grams), held=16
    )
    return found["w"]


def drawn(shape, rows=40, sources=4):
    """Weights and inputs; the features of each source's inputs have their own scales and correlations."""
    random = np.random.default_rng(0)
    tensors = list(random.standard_normal((sources, *shape)))
    inputs = [
        random.standard_normal((rows, shape[1])) @ random.standard_normal((shape[1], shape[1]))
        for _ in range(sources)
    ]
    return tensors, inputs


def gram(inputs):
    return inputs.T @ inputs / len(inputs)


def least_squares(tensors, inputs, weights):
    """W of the least Σ cᵢ ‖Xᵢ Wᵀ - Xᵢ Wᵢᵀ‖²/rows, all rows stacked."""
    scaled = [np.sqrt(weight / len(x)) * x for weight, x in zip(weights, inputs, strict=True)]
    wanted = [x @ tensor.T for x, tensor in zip(scaled, tensors, strict=True)]
    return np.linalg.lstsq(np.vstack(scaled), np.vstack(wanted), rcond=None)[0].T


def regmean(tensors, grams, weights, alpha):
    """Equation 2 with the off-diagonals of every Gram matrix times alpha."""
    width = len(grams[0])
    shrunk = [g * (alpha + (1 - alpha) * np.eye(width)) for g in grams]
    total = sum(weight * g for weight, g in zip(weights, shrunk, strict=True))
    wanted = sum(w * g @ tensor.T for w, g, tensor in zip(weights, shrunk, tensors, strict=True))
    return np.linalg.solve(total, wanted).T


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("weights", [[0.4, 0.3, 0.2, 0.1], [0.0, 0.6, 0.3, 0.1], [0.0, 0.9, 0.0, 0.1]])
def test_without_shrinking_it_is_the_least_squares_solution_of_all_outputs(shape, weights):
    tensors, inputs = drawn(shape)
    found = merged(tensors, [gram(x) for x in inputs], weights, alpha=1)
    np.testing.assert_allclose(found, least_squares(tensors, inputs, weights), atol=1e-3)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("alpha", [0.9, 0.3, 0.0])
def test_off_diagonals_are_shrunk_by_alpha(shape, alpha):
    tensors, inputs = drawn(shape)
    grams, weights = [gram(x) for x in inputs], [0.4, 0.3, 0.2, 0.1]
    found = merged(tensors, grams, weights, alpha=alpha)
    np.testing.assert_allclose(found, regmean(tensors, grams, weights, alpha), atol=1e-4)
    if alpha == 0.9:
        assert found.tobytes() == merged(tensors, grams, weights).tobytes()


def test_no_other_matrix_has_outputs_nearer_to_all_sources():
    tensors, inputs = drawn((4, 7))

    def distance(matrix):
        return sum(np.sum((x @ (matrix - t).T) ** 2) for x, t in zip(inputs[1:], tensors[1:], strict=True))

    found = merged(tensors, [gram(x) for x in inputs], alpha=1)
    random = np.random.default_rng(1)
    nearby = [found + 0.01 * random.standard_normal(found.shape) for _ in range(50)]
    assert distance(found) < min(map(distance, nearby))
    assert distance(found) < 0.9 * distance(np.mean(tensors[1:], axis=0))


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("alpha", [0.5, 1.0])
def test_with_inputs_all_alike_it_is_the_average(scale, alpha):
    tensors, _ = drawn((4, 7))
    found = merged(tensors, [scale * np.eye(7)] * 4, [0.4, 0.3, 0.2, 0.1], alpha=alpha)
    average = 0.4 * tensors[0] + 0.3 * tensors[1] + 0.2 * tensors[2] + 0.1 * tensors[3]
    np.testing.assert_allclose(found, average, atol=1e-6)


@pytest.mark.filterwarnings("error")
def test_without_any_inputs_it_is_the_average():
    tensors, _ = drawn((4, 7))
    found = merged(tensors, [np.zeros((7, 7))] * 4)
    np.testing.assert_allclose(found, np.mean(tensors[1:], axis=0), atol=1e-6)


def test_sources_with_one_and_the_same_inputs_are_averaged():
    tensors, inputs = drawn((4, 7))
    found = merged(tensors, [gram(inputs[0])] * 4, [0.4, 0.3, 0.2, 0.1], alpha=1)
    average = 0.4 * tensors[0] + 0.3 * tensors[1] + 0.2 * tensors[2] + 0.1 * tensors[3]
    np.testing.assert_allclose(found, average, atol=1e-4)


@pytest.mark.parametrize("shape", SHAPES)
def test_one_source_that_counts_alone_comes_out_as_it_is(shape):
    tensors, inputs = drawn(shape)
    grams = [gram(x) for x in inputs]
    np.testing.assert_allclose(merged(tensors, grams, [0, 0, 1, 0]), tensors[2], atol=1e-5)
    np.testing.assert_allclose(merged(tensors[:2], grams[:2]), tensors[1], atol=1e-5)
    assert merged(tensors, grams, [1, 0, 0, 0]).tobytes() == np.float32(tensors[0]).tobytes()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("rows", [1, 2, 4])
def test_directions_of_the_input_that_no_text_reaches_are_averaged(rows):
    tensors, _ = drawn((4, 12), sources=3)
    # Small integers and a power of two: nothing is rounded.
    inputs = [np.random.default_rng(source).integers(-4, 5, (rows, 12)) for source in range(3)]
    blind = np.linalg.svd(np.vstack(inputs[1:]))[2][2 * rows :]
    found = merged(tensors, [gram(x) for x in inputs], alpha=1)
    mean = (tensors[1] + tensors[2]) / 2
    np.testing.assert_allclose(found @ blind.T, mean @ blind.T, atol=1e-5)
    for x, tensor in zip(inputs[1:], tensors[1:], strict=True):  # few enough to be met
        np.testing.assert_allclose(x @ found.T, x @ tensor.T, atol=1e-2)


@pytest.mark.parametrize("rows", [1, 16])
@pytest.mark.parametrize("scale", [1, 100])
def test_rounding_decides_little_in_directions_that_no_text_reaches(rows, scale):
    random = np.random.default_rng(1)
    features = np.ones(500)
    features[:3] = scale  # as in encoders, some features are far larger than the others
    tensors = list(random.standard_normal((3, 4, 500)))
    inputs = [features * (random.standard_normal((rows, 500)) + 3) for _ in tensors]
    blind = np.linalg.svd(np.vstack(inputs[1:]))[2][2 * rows :]
    found = merged(tensors, [gram(x) for x in inputs], alpha=1)
    mean = (tensors[1] + tensors[2]) / 2
    assert np.linalg.norm((found - mean) @ blind.T) < 0.02 * np.linalg.norm(mean @ blind.T)


def test_negative_weights_stay_bounded():
    tensors, inputs = drawn((4, 7))
    grams, weights = [gram(x) for x in inputs], [0.3, 0.9, 0.3, -0.5]
    sizes = [abs(weight) * g for weight, g in zip(weights, grams, strict=True)]
    signed = [np.sign(w) * g @ (t - tensors[0]).T for w, g, t in zip(weights, sizes, tensors, strict=True)]
    wanted = tensors[0] + 2.0 * np.linalg.solve(sum(sizes), sum(signed)).T
    np.testing.assert_allclose(merged(tensors, grams, weights, alpha=1), wanted, atol=1e-3)
    diagonal = merged(tensors, grams, weights, alpha=0)
    furthest = np.max([np.abs(tensor - tensors[0]) for tensor in tensors], axis=0)
    assert (np.abs(diagonal - tensors[0]) <= 2.0 * furthest + 1e-5).all()


def test_the_order_of_the_experts_does_not_matter():
    tensors, inputs = drawn((5, 5))
    grams = [gram(x) for x in inputs]
    found = merged([tensors[0], *tensors[:0:-1]], [grams[0], *grams[:0:-1]])
    np.testing.assert_allclose(found, merged(tensors, grams), atol=1e-5)


def test_a_linear_of_which_a_source_has_no_statistics_is_averaged():
    tensors, inputs = drawn((4, 7))
    known = named([gram(x) for x in inputs])
    del known["b"]["w"]
    found = merge_arrays("regmean", named(tensors), [0.4, 0.3, 0.2, 0.1], statistics=known)["w"]
    average = 0.4 * tensors[0] + 0.3 * tensors[1] + 0.2 * tensors[2] + 0.1 * tensors[3]
    np.testing.assert_allclose(found, average, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "shape"), [("embeddings.word_embeddings.weight", (7, 5)), ("encoder.layer.0.dense.bias", (5,))]
)
def test_lookup_tables_and_vectors_are_averaged(name, shape):
    tensors = list(np.random.default_rng(0).standard_normal((3, *shape)))
    known = named([np.diag(np.arange(1.0, 6))] * 3, name)
    found = merge_arrays("regmean", named(tensors, name), [0.2, 0.5, 0.3], statistics=known)[name]
    wanted = 0.2 * tensors[0] + 0.5 * tensors[1] + 0.3 * tensors[2]
    np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_wants_statistics():
    tensors, _ = drawn((4, 7))
    with pytest.raises(EmbedmergeError, match=r"^method regmean: needs statistics of every source \(gram\)$"):
        merge_arrays("regmean", named(tensors))
