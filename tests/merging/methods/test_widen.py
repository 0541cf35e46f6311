from __future__ import annotations

import numpy as np
import pytest
from formulas import NAMES, SHAPES, SLICES, WEIGHTS, flat, merged, models

TABLE, QUERY, OUTPUT, BIAS, NORM = SHAPES


def scores(significance, ratio, calibration):
    """Softmax over the experts, and the calibration value above the expert's mean: (experts, columns)."""
    powers = np.exp(significance)
    above = significance > ratio * significance.mean(axis=1, keepdims=True) + 1e-12
    return np.where(above, calibration, powers / powers.sum(axis=0))


def within_rank(values):
    """Places in the order of each row, as shares of its length."""
    return np.argsort(np.argsort(values, axis=1, kind="stable"), axis=1) / values.shape[1]


def score(base, experts, name, ratio, calibration):
    """What each element of each expert counts for, in the authors' steps on whole tensors."""
    if base.ndim == 1:
        return scores(np.abs(experts - base), ratio, calibration)
    if name == TABLE:  # a token is a column
        turned = score(base.T, experts.transpose(0, 2, 1), "", ratio, calibration)
        return turned.transpose(0, 2, 1)
    length, lengths = np.linalg.norm(base, axis=0), np.linalg.norm(experts, axis=1)
    cosine = (experts / lengths[:, None] * base / length).sum(axis=1)
    moved = np.abs(lengths - length), 1 - cosine
    both = [scores(within_rank(one), ratio, calibration) for one in moved]
    return np.mean(both, axis=0)[:, None]


def widen(sources, weights, ratio=1.0, calibration=1.0):
    found = []
    factors = np.array(weights[1:]) * len(weights[1:])  # λ · shares · n
    for name in SHAPES:
        base, *experts = (model[name].astype(float) for model in sources)
        counts = score(base, np.stack(experts), name, ratio, calibration)
        found.append(base + np.tensordot(factors, counts * (np.stack(experts) - base), 1))
    return np.concatenate([tensor.ravel() for tensor in found])


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize(("ratio", "calibration"), [(1.0, 1.0), (0.5, 0.8), (1.55, 1.3), (0.0, 0.0)])
@pytest.mark.parametrize("held", SLICES)
def test_is_the_formula_on_whole_tensors(weights, ratio, calibration, held):
    sources = models()[: len(weights)]
    found = merged("widen", sources, weights, held, ratio=ratio, calibration=calibration)
    np.testing.assert_allclose(found, widen(sources, weights, ratio, calibration), atol=1e-6)


def of_one(name, shape, *experts, **parameters):
    """The task vector that is merged of one tensor, from a base of ones."""
    base = np.ones(shape)
    sources = [{name: base}, *({name: base + np.array(moved)} for moved in experts)]
    return merged("widen", sources, **parameters).reshape(shape) - base


def test_a_column_of_a_matrix_is_an_input():
    still, some, most = [0.0, 0, 0], [0.1, 0, 0], [0.5, 0, 0]
    columns = np.array([still, some, most]).T
    other = np.array([some, most, still]).T
    found = of_one(QUERY, (3, 3), columns, other, calibration=1)
    # Ranks 0, 1, 2 and 1, 2, 0 of three, mean 1: the last column of the first is important.
    first = np.exp([0, 1 / 3, 2 / 3]) / (np.exp([0, 1 / 3, 2 / 3]) + np.exp([1 / 3, 2 / 3, 0]))
    wanted = np.where([False, False, True], 1, first) * columns
    wanted += np.where([False, True, False], 1, 1 - first) * other
    np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_a_row_of_a_lookup_table_is_a_token():
    rows = np.array([[0.0, 0, 0], [0.1, 0, 0], [0.5, 0, 0]])
    other = rows[[1, 2, 0]]
    by_token = of_one(TABLE, (3, 3), rows, other)
    np.testing.assert_allclose(by_token, of_one(QUERY, (3, 3), rows.T, other.T).T, atol=1e-6)
    assert np.abs(by_token - of_one(QUERY, (3, 3), rows, other)).max() > 0.01


@pytest.mark.parametrize("name", [BIAS, NORM])
def test_an_element_of_a_vector_counts_by_its_own_change(name):
    first, second = np.array([0.1, -0.5]), np.array([0.3, 0.1])
    soft = np.exp(0.1) / (np.exp(0.1) + np.exp(0.3))
    other = np.exp(0.1) / (np.exp(0.1) + np.exp(0.5))
    wanted = [soft * 0.1 + 0.3, -0.5 + other * 0.1]  # means 0.3 and 0.2
    np.testing.assert_allclose(of_one(name, (2,), first, second), wanted, atol=1e-6)


@pytest.mark.parametrize("columns", [*range(3, 60, 2)])
def test_the_column_in_the_middle_is_not_above_the_mean_however_the_sum_is_rounded(columns):
    moved = np.random.default_rng(columns).permutation(np.linspace(0.01, 0.5, columns))
    change = np.stack([moved, np.zeros(columns)])
    found = of_one(QUERY, (2, columns), change, calibration=5)
    important = found[0] > 2 * moved
    assert important.sum() == columns // 2
    assert moved[important].min() > np.median(moved)


def test_the_larger_the_ratio_the_fewer_columns_are_important():
    counts = []
    for ratio in (0, 0.5, 1, 1.5, 2.5):
        found = merged("widen", models()[:2], ratio=ratio, calibration=0)
        counts.append(np.count_nonzero(found == flat(models()[0])))
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > counts[2] > counts[-1]


@pytest.mark.parametrize("weight", [1, 0.6])
def test_one_expert_counts_for_one_everywhere(weight):
    base, legal, *_ = models()
    found = merged("widen", [base, legal], [1 - weight, weight])
    np.testing.assert_allclose(found, (1 - weight) * flat(base) + weight * flat(legal), atol=1e-6)


def test_experts_that_are_alike_share_what_is_not_important():
    base, legal, *_ = models()
    found = merged("widen", [base, legal, legal], calibration=0.5)
    np.testing.assert_allclose(found, flat(legal), atol=1e-6)


def test_the_order_of_the_experts_does_not_matter():
    weights = [0.1, 0.5, 0.3, 0.1]
    base, *experts = models()
    turned = merged("widen", [base, *experts[::-1]], [0.1, *weights[:0:-1]], names=[NAMES[0], *NAMES[:0:-1]])
    np.testing.assert_allclose(turned, merged("widen", models(), weights), atol=1e-6)


@pytest.mark.filterwarnings("error")
def test_columns_and_experts_without_length_or_change():
    base = {name: values.copy() for name, values in models()[0].items()}
    base[QUERY][:, 2] = 0
    base[TABLE][0] = 0  # as a padding row is
    legal, code = models()[1:3]
    legal[QUERY][:, 3] = 0
    assert np.isfinite(merged("widen", [base, legal, code])).all()
    assert merged("widen", [base, base, base]).tobytes() == flat(base).tobytes()
