from __future__ import annotations

import numpy as np
import pytest

from embedmerge.merging.anatomy import Site
from embedmerge.merging.movement import Movement, is_matrix
from embedmerge.merging.part import Part

TABLE = "embeddings.word_embeddings.weight"
LINEAR = "encoder.layer.0.output.dense.weight"


def facts(name, tensors, rows=None):
    """What is found of a tensor that is looked at as many rows at a time."""
    survey = Movement()
    site = Site.of(name, np.shape(tensors[0]), 1)
    whole = [np.asarray(tensor, np.float32).reshape(-1, np.shape(tensor)[-1]) for tensor in tensors]
    step = rows or len(whole[0])
    weights = (0.0, *[1 / (len(tensors) - 1)] * (len(tensors) - 1))
    for first in range(0, len(whole[0]), step):
        cut = tuple(tensor[first : first + step] for tensor in whole)
        survey.add(survey.look(Part(site, cut, weights, first * whole[0].shape[1])))
    assert not survey.finish_pass()
    return survey.facts


def ranks(values):
    """Places in the order of each row, as shares of its length."""
    order = np.argsort(values, axis=1, kind="stable")
    return np.argsort(order, axis=1) / values.shape[1]


@pytest.fixture
def tensors():
    random = np.random.default_rng(0)
    base = random.standard_normal((8, 5))
    return [base, *(base + scale * random.standard_normal((8, 5)) for scale in (0.1, 0.5, 2))]


@pytest.mark.parametrize("rows", [1, 3, 8])
def test_columns_of_a_matrix_are_ranked_by_change_of_length_and_of_direction(tensors, rows):
    base, *experts = (tensor.astype(np.float32).astype(float) for tensor in tensors)
    lengths = [np.abs(np.linalg.norm(expert, axis=0) - np.linalg.norm(base, axis=0)) for expert in experts]
    turns = [
        1 - (expert * base).sum(axis=0) / np.linalg.norm(expert, axis=0) / np.linalg.norm(base, axis=0)
        for expert in experts
    ]
    by_length, by_direction = facts(LINEAR, tensors, rows)
    np.testing.assert_array_equal(by_length, ranks(np.array(lengths)))
    np.testing.assert_array_equal(by_direction, ranks(np.array(turns)))
    assert (by_length != by_direction).any()


@pytest.mark.parametrize("rows", [1, 3, 8])
def test_rows_of_a_lookup_table_take_the_part_of_columns(tensors, rows):
    found = facts(TABLE, tensors, rows)
    assert found.shape == (2, 3, 8)
    np.testing.assert_array_equal(found, facts(LINEAR, [tensor.T for tensor in tensors]))


def test_length_and_direction_are_told_apart():
    base = np.eye(3)
    longer, turned = base.copy(), base.copy()
    longer[0, 0] = 2
    turned[:, 1] = [1, 0, 0]
    by_length, by_direction = facts(LINEAR, [base, longer, turned])
    np.testing.assert_array_equal(by_length, [[2 / 3, 0, 1 / 3], [0, 1 / 3, 2 / 3]])
    np.testing.assert_array_equal(by_direction, [[0, 1 / 3, 2 / 3], [0, 2 / 3, 1 / 3]])


def test_a_column_that_has_not_moved_has_the_lowest_rank_however_its_length_is_rounded():
    random = np.random.default_rng(1)
    base = random.standard_normal((40, 60))
    expert = base.copy()
    expert[:, ::2] += 1e-3 * random.standard_normal((40, 30))
    for found in facts(LINEAR, [base, expert], rows=7):
        assert found[0, 1::2].max() < found[0, ::2].min()


def test_of_columns_that_moved_alike_the_first_is_the_lower():
    base = np.ones((2, 64))  # more than are sorted by insertion, which keeps their order anyway
    expert = base + np.tile([0.5, 0], 32)
    by_length, by_direction = facts(LINEAR, [base, expert])
    places = np.arange(32) / 64
    np.testing.assert_array_equal(by_length[0], np.stack([0.5 + places, places], axis=1).ravel())
    np.testing.assert_array_equal(by_direction[0], np.arange(64) / 64)


@pytest.mark.filterwarnings("error")
def test_a_column_of_zeros_has_a_length_and_no_direction():
    base, expert = np.eye(2), np.eye(2)
    base[1, 1] = 0
    by_length, by_direction = facts(LINEAR, [base, expert])
    np.testing.assert_array_equal(by_length[0], [0, 0.5])
    np.testing.assert_array_equal(by_direction[0], [0, 0.5])
    expert[0] = [1, 0]
    expert[1] = [1, 0]  # the other column turned
    assert facts(LINEAR, [base, expert])[1][0].tolist() == [0.5, 0]


@pytest.mark.parametrize("rows", [1, 2, 8])
def test_of_any_other_tensor_it_is_the_mean_change(tensors, rows):
    base, *experts = tensors
    wanted = [[np.abs(expert - base).mean()] for expert in experts]
    cubes = [tensor.reshape(2, 4, 5) for tensor in tensors]
    np.testing.assert_allclose(facts("convolution.weight", cubes, rows), wanted, rtol=1e-6)
    vectors = [tensor.ravel() for tensor in tensors]
    np.testing.assert_allclose(facts("encoder.layer.0.output.dense.bias", vectors), wanted, rtol=1e-6)


def test_only_linears_and_lookup_tables_have_columns():
    shapes = {LINEAR: (3, 4), TABLE: (3, 4), "LayerNorm.weight": (4,), "convolution.weight": (2, 3, 4)}
    told = {name: is_matrix(Site.of(name, shape, 1)) for name, shape in shapes.items()}
    assert told == {LINEAR: True, TABLE: True, "LayerNorm.weight": False, "convolution.weight": False}
