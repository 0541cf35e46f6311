from __future__ import annotations

import numpy as np
import pytest

from embedmerge.merging.anatomy import Site
from embedmerge.merging.part import Part
from embedmerge.merging.spectral import NULL, of_matrices, orthogonalised, thin_svd, top_eigen, total

SHAPES = [(6, 11), (11, 6), (7, 7), (1, 5), (5, 1), (1, 1)]


def basis(rows, columns, seed):
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((rows, columns)))[0]


def polar(matrix):
    """The orthogonal factor P Qᵀ of P Σ Qᵀ, null directions left out."""
    p, s, qt = np.linalg.svd(matrix, full_matrices=False)
    known = s > 1e-6 * s[0]
    return p[:, known] @ qt[known]


def of_rank(rank, shape, seed=0):
    """Small integers, so that nothing is rounded and the rank is exact."""
    random = np.random.default_rng(seed)
    left, right = random.integers(-3, 4, (shape[0], rank)), random.integers(-3, 4, (rank, shape[1]))
    return (left @ right).astype(np.float32)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_thin_svd_is_numpys(shape):
    matrix = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    u, s, v = thin_svd(matrix)
    np.testing.assert_allclose(s, np.linalg.svd(matrix.astype(np.float64), compute_uv=False), rtol=1e-10)
    np.testing.assert_allclose(u * s @ v.T, matrix, atol=1e-12)
    np.testing.assert_allclose(u.T @ u, np.eye(len(s)), atol=1e-10)
    np.testing.assert_allclose(v.T @ v, np.eye(len(s)), atol=1e-10)


@pytest.mark.parametrize("shape", [(6, 11), (11, 6), (7, 7)])
def test_the_first_triplets_are_the_nearest_matrix_of_their_rank(shape):
    matrix = np.random.default_rng(1).standard_normal(shape)
    p, sigma, qt = np.linalg.svd(matrix, full_matrices=False)
    u, s, v = thin_svd(matrix, 2)
    assert (u.shape, s.shape, v.shape) == ((shape[0], 2), (2,), (shape[1], 2))
    np.testing.assert_allclose(u * s @ v.T, p[:, :2] * sigma[:2] @ qt[:2], atol=1e-10)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("shape", [(6, 11), (11, 6), (7, 7)])
@pytest.mark.parametrize("rank", [0, 1, 3])
def test_null_directions_are_left_out(rank, shape):
    matrix = of_rank(rank, shape)
    u, s, v = thin_svd(matrix, 5)
    assert len(s) == rank
    np.testing.assert_allclose(u * s @ v.T, matrix, atol=1e-10)


def test_a_direction_is_null_below_a_millionth_of_the_largest():
    values = np.array([1.0, 1e-3, 2 * NULL, NULL / 2])
    left, right = basis(6, 4, 0), basis(9, 4, 1)
    found = thin_svd(left * values @ right.T).s
    np.testing.assert_allclose(found, values[:3], rtol=1e-3)


def test_a_direction_is_null_at_or_below_the_floor():
    matrix = np.diag([3.0, 2.0, 1.0])
    assert thin_svd(matrix, floor=1.5).s.tolist() == pytest.approx([3, 2])
    assert thin_svd(matrix, floor=4).s.size == 0


def test_the_largest_eigenvalues_come_first():
    factor = np.random.default_rng(2).standard_normal((6, 9))
    values, vectors = top_eigen(factor @ factor.T, 3)
    wanted = np.linalg.eigvalsh(factor @ factor.T)[::-1][:3]
    np.testing.assert_allclose(values, wanted, rtol=1e-10)
    np.testing.assert_allclose(factor @ factor.T @ vectors, vectors * wanted, atol=1e-9)


def test_nothing_has_no_eigenvalues():
    values, vectors = top_eigen(np.zeros((0, 0)))
    assert (values.shape, vectors.shape) == ((0,), (0, 0))
    assert top_eigen(np.zeros((3, 3)))[0].size == 0


@pytest.mark.parametrize(
    "columns", [(4,), (3, 4), (5, 2), (2, 2, 3), (1, 3, 2, 4), (0, 4), (4, 0), (0, 3, 2)]
)
def test_orthogonalised_bases_are_the_polar_factor_of_all_side_by_side(columns):
    bases = [basis(12, number, seed) if number else np.zeros((12, 0)) for seed, number in enumerate(columns)]
    found = orthogonalised(bases)
    np.testing.assert_allclose(found, polar(np.hstack(bases)), atol=1e-9)
    np.testing.assert_allclose(found.T @ found, np.eye(sum(columns)), atol=1e-9)


def test_empty_bases_have_nothing_to_orthogonalise():
    assert orthogonalised([np.zeros((4, 0)), np.zeros((4, 0))]).shape == (4, 0)


@pytest.mark.parametrize("columns", [(5, 5), (4, 4, 4)])
def test_more_directions_than_rows_share_them(columns):
    bases = [basis(6, number, seed) for seed, number in enumerate(columns)]
    found = orthogonalised(bases)
    np.testing.assert_allclose(found, polar(np.hstack(bases)), atol=1e-8)
    np.testing.assert_allclose(found @ found.T, np.eye(6), atol=1e-8)


@pytest.mark.parametrize("others", [1, 2])
def test_a_direction_that_bases_share_is_split_between_them(others):
    shared = basis(9, 1, 0)
    rest = np.eye(9) - shared @ shared.T
    own = [np.linalg.qr(rest @ basis(9, 2, 1 + seed))[0] for seed in range(others + 1)]
    bases = [np.hstack([shared, each]) for each in own]
    found = orthogonalised(bases)
    np.testing.assert_allclose(found, polar(np.hstack(bases)), atol=1e-8)
    np.testing.assert_allclose(found[:, 0], shared[:, 0] / np.sqrt(others + 1), atol=1e-8)


@pytest.mark.parametrize("angle", [1e-2, 1e-3, 1e-4])
def test_directions_a_little_apart_are_not_taken_for_one(angle):
    first, second, away = basis(8, 3, 0).T
    one = np.stack([first, second], axis=1)
    other = (np.cos(angle) * first + np.sin(angle) * away)[:, None]
    found = orthogonalised([one, other])
    np.testing.assert_allclose(found, polar(np.hstack([one, other])), atol=1e-6)
    np.testing.assert_allclose(found.T @ found, np.eye(3), atol=1e-6)


def test_a_sum_of_matrices_is_taken_in_float64():
    matrices = [np.float32([[1]]), np.float32([[2.0**-30]]), np.float32([[-1]])]
    assert total(matrices).tolist() == [[2.0**-30]]
    assert matrices[0] == 1


def test_a_method_is_handed_the_experts_that_count_times_their_factors():
    handed = []

    @of_matrices
    def remember(matrices, *, flag):
        handed.append((flag, [matrix.tolist() for matrix in matrices]))
        return total(matrices)

    base = np.full((1, 2), 5, np.float32)
    experts = [base + np.float32(tau) for tau in ([1, 2], [4, 8], [0, 0], [3, 3])]
    part = Part(Site.of("w", (1, 2)), (base, *experts), (0.2, 0.2, 0.4, 0.2, 0.0))
    merged = remember(part, flag=True)
    # The shares are 1/4, 1/2, 1/4 and 0, the factors of the three that count three times that;
    # the third has nothing to give.
    assert handed == [(True, [[[0.75, 1.5]], [[6.0, 12.0]]])]
    assert merged.dtype == np.float32
    assert merged.tolist() == [[6.75, 13.5]]


def test_where_no_expert_counts_nothing_moves():
    @of_matrices
    def never(matrices):
        raise AssertionError(matrices)

    base = np.ones((2, 3), np.float32)
    part = Part(Site.of("w", (2, 3)), (base, base, base + 1), (0.5, 0.5, 0.0))
    assert never(part).tolist() == np.zeros((2, 3)).tolist()
