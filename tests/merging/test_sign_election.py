from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hn

from embedmerge.merging.anatomy import Site
from embedmerge.merging.part import Part
from embedmerge.merging.sign_election import agreeing_merge

# Sums of these are exact, so that an election ends the same way in any order.
EIGHTHS = st.integers(-16, 16).map(lambda number: number / 8)
TASK_VECTORS = st.integers(1, 4).flatmap(lambda n: hn.arrays(np.float32, (n, 5), elements=EIGHTHS))


def part_of(task_vectors, weights):
    base = np.zeros_like(task_vectors[0])
    return Part(Site("w", base.shape), (base, *task_vectors), (1 - sum(weights), *weights))


def elected(task_vectors, weights=None, **given):
    task_vectors = [np.float32(tau) for tau in task_vectors]
    weights = weights or [1 / len(task_vectors)] * len(task_vectors)
    return agreeing_merge(task_vectors, part_of(task_vectors, weights), **given)


def by_the_paper(task_vectors, shares, agg, emphasis):
    """Element by element: γ = sign(Σ pᵢ τ̂ᵢ); the mean of, or sum over, A = {i: sign(pᵢ τ̂ᵢ) = γ}."""
    merged = []
    for column in np.asarray(task_vectors, dtype=np.float64).T:
        votes = [share * value for share, value in zip(shares, column, strict=True)]
        gamma = np.sign(sum(votes))
        agreeing = [row for row, vote in enumerate(votes) if vote and np.sign(vote) == gamma]
        total = sum(emphasis[row] * votes[row] for row in agreeing)
        if agg == "mean":
            merged.append(
                total / sum(emphasis[row] * abs(shares[row]) for row in agreeing) if agreeing else 0
            )
        else:
            merged.append(len(shares) * total)
    return merged


@given(TASK_VECTORS, st.sampled_from(["mean", "sum"]), st.data())
def test_is_the_papers_election_and_disjoint_merge(task_vectors, agg, data):
    count = len(task_vectors)
    units = data.draw(st.lists(st.sampled_from([-2, -1, 1, 2, 5]), min_size=count, max_size=count))
    emphasis = data.draw(st.lists(st.sampled_from([0.5, 1.0, 3.0]), min_size=count, max_size=count))
    shares = [unit / 8 for unit in units]
    total = sum(map(abs, shares))
    # Shares of a total that is no power of two are rounded: votes that tie would not quite cancel out.
    votes = np.array(units)[:, None] * task_vectors
    if total not in (0.125, 0.25, 0.5, 1.0):
        task_vectors = task_vectors[:, np.abs(votes.sum(axis=0)) > 0]
    found = elected(task_vectors, shares, agg=agg, emphasis=emphasis)
    wanted = by_the_paper(task_vectors, [share / total for share in shares], agg, emphasis)
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_the_sign_of_the_sum_is_elected_and_what_has_it_averaged():
    found = elected([[3, -3, 1, 0], [-1, 1, 2, 0], [-1, 1, 0, -2]])
    assert found.tolist() == pytest.approx([3, -3, 1.5, -2])


def test_a_sum_counts_every_expert_once():
    assert elected([[3, 1], [-1, 2]], agg="sum").tolist() == pytest.approx([3, 3])


def test_a_larger_weight_wins_the_election():
    assert elected([[1.0], [-2.0]]).tolist() == [-2]
    assert elected([[1.0], [-2.0]], [0.8, 0.2]).tolist() == [1]


def test_what_cancels_out_is_not_moved():
    for agg in ("mean", "sum"):
        assert elected([[2.0, 0.0], [-2.0, 0.0]], agg=agg).tolist() == [0, 0]


def test_an_expert_with_a_negative_weight_votes_for_the_opposite():
    found = elected([[1.0, 1.0], [3.0, -3.0]], [0.5, -0.5])
    assert found.tolist() == [-3, 2]


def test_emphasis_counts_after_the_election_alone():
    found = elected([[1.0, 4.0], [3.0, -1.0], [0.0, 0.0]], emphasis=[1.0, 3.0, 7.0])
    assert found.tolist() == pytest.approx([2.5, 4])


def test_where_nobody_agrees_nothing_is_divided_by_zero():
    with np.errstate(all="raise"):
        assert not elected([np.zeros(3), np.zeros(3)]).any()
