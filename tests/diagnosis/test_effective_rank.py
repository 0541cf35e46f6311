from __future__ import annotations

import numpy as np
import pytest

from embedmerge.diagnosis import effective_rank as module
from embedmerge.diagnosis.effective_rank import effective_rank


def by_svd(matrix):
    """Roy and Vetterli, eq. 1-4, on the singular values themselves."""
    singular = np.linalg.svd(matrix.astype(np.float64), compute_uv=False)
    shares = singular[singular > 0] / singular.sum()
    return np.exp(-(shares * np.log(shares)).sum())


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (20, 30), (30, 20), (24, 24)])
def test_is_the_exponential_of_the_entropy_of_the_singular_values(shape):
    matrix = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    assert effective_rank(matrix) == pytest.approx(by_svd(matrix), rel=1e-6)


def test_of_falling_singular_values():
    random = np.random.default_rng(1)
    left, right = (np.linalg.qr(random.standard_normal((40, 25)))[0] for _ in range(2))
    singular = 0.7 ** np.arange(25)
    matrix = (left * singular @ right.T).astype(np.float32)
    shares = singular / singular.sum()
    assert effective_rank(matrix) == pytest.approx(np.exp(-(shares * np.log(shares)).sum()), rel=1e-3)


@pytest.mark.parametrize("rank", [1, 3, 7])
def test_as_many_as_there_are_equal_directions(rank):
    random = np.random.default_rng(2)
    left, right = (np.linalg.qr(random.standard_normal((16, rank)))[0] for _ in range(2))
    assert effective_rank((left @ right.T).astype(np.float32)) == pytest.approx(rank, rel=1e-3)


def test_the_scale_does_not_matter():
    matrix = np.random.default_rng(3).standard_normal((12, 8)).astype(np.float32)
    assert effective_rank(1e-6 * matrix) == pytest.approx(effective_rank(matrix), rel=1e-5)


@pytest.mark.parametrize("transposed", [False, True])
def test_a_long_matrix_is_read_in_chunks(transposed, monkeypatch):
    matrix = np.random.default_rng(4).standard_normal((6, 50)).astype(np.float32)
    monkeypatch.setattr(module, "CHUNK", 7)
    assert effective_rank(matrix.T if transposed else matrix) == pytest.approx(by_svd(matrix), rel=1e-6)


def test_zeros_have_no_rank():
    assert effective_rank(np.zeros((4, 3), dtype=np.float32)) is None
