from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from formulas import (
    SHARES,
    SHARES_OF_TENSORS,
    SLICES,
    WEIGHTS,
    by_formula,
    flat,
    largest,
    largest_by_tensor,
    merged,
    merged_vectors,
    models,
)

DENSITIES = (0, 0.01, 0.1, 0.5, 1)
of_vectors = partial(merged_vectors, "localize_and_stitch")


def localize_and_stitch(density):
    """`m'ᵢ = mᵢ / Σⱼ mⱼ` on the elements where each task vector is largest, weighed by the shares."""

    def formula(taus, shares):
        return stitched(taus, shares, np.stack([largest(tau, density) != 0 for tau in taus]))

    return formula


def stitched(taus, shares, regions):
    overlap = np.abs(shares) @ regions
    total = shares @ (taus * regions)
    return np.divide(total, overlap, out=np.zeros_like(total), where=overlap > 0)


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("scope", ["model", "tensor"])
@pytest.mark.parametrize("density", DENSITIES)
def test_is_the_formula_on_whole_flat_models(weights, scope, density):
    sources = models()[: len(weights)]
    wanted = by_formula(sources, weights, localize_and_stitch(density), scope)
    found = merged("localize_and_stitch", sources, weights, density=density, scope=scope)
    np.testing.assert_allclose(found, wanted, atol=1e-6)


@pytest.mark.parametrize("scope", ["model", "tensor"])
def test_slices_change_no_bit(scope):
    weights = [0.1, 0.5, 0.3, 0.1]
    whole, cut = (merged("localize_and_stitch", models(), weights, held, scope=scope) for held in SLICES)
    assert whole.tobytes() == cut.tobytes()


def test_overlapping_regions_are_averaged_and_others_taken_whole():
    found = of_vectors([4.0, 3, 1, 0], [0.0, 5, 1, 7], density=0.5)
    np.testing.assert_allclose(found, [4, 4, 0, 7])
    found = of_vectors([4.0, 3, 1, 0], [0.0, 5, 1, 7], density=0.5, weights=[0.0, 0.75, 0.25])
    np.testing.assert_allclose(found, [4, 0.75 * 3 + 0.25 * 5, 0, 7])


def test_changes_that_contradict_each_other_are_averaged_too():
    np.testing.assert_allclose(of_vectors([4.0, 0], [-3.0, 0], density=0.5), [0.5, 0])


def test_what_equals_the_smallest_in_the_region_is_in_it():
    # The authors' code leaves out the smallest of the region, and so all of a constant task vector.
    np.testing.assert_array_equal(of_vectors([2.0, 1, -1, 0.5], density=0.5), [2, 1, -1, 0])
    np.testing.assert_array_equal(of_vectors([1.0, 1, -1, 1], density=0.5), [1, 1, -1, 1])


def test_regions_that_cover_everything_give_the_weighted_mean():
    weights = [0.4, 0.3, 0.2, 0.1]
    found = merged("localize_and_stitch", models(), weights, density=1)
    np.testing.assert_allclose(found, merged("task_arithmetic", models(), weights), atol=1e-6)


def test_density_zero_leaves_the_base():
    assert merged("localize_and_stitch", models(), density=0).tobytes() == flat(models()[0]).tobytes()


@pytest.mark.parametrize("held", SLICES)
@pytest.mark.parametrize("scope", ["model", "tensor"])
def test_each_expert_may_have_a_share_of_its_own_that_differs_from_block_to_block(scope, held):
    weights = [0.1, 0.5, 0.3, 0.1]

    def formula(taus, shares):
        return stitched(taus, shares, largest_by_tensor(taus, SHARES_OF_TENSORS, scope) != 0)

    found = merged("localize_and_stitch", models(), weights, held, density=SHARES, scope=scope)
    np.testing.assert_allclose(found, by_formula(models(), weights, formula), atol=1e-6)
