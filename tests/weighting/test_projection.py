from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

from embedmerge.weighting.projection import within


@pytest.mark.parametrize("bounds", [(0.0, 1.0), (-0.3, 1.4)])
def test_weights_are_moved_to_the_nearest_ones_within_bounds(bounds: tuple[float, float]) -> None:
    low, high = bounds
    points = np.random.default_rng(0).normal(0.4, 0.8, (12, 3))
    found = within(points, bounds)
    for point, near in zip(points, found, strict=True):
        solved = minimize(
            lambda weights, point=point: ((weights - point) ** 2).sum(),
            np.full(3, 0.2),
            bounds=[bounds] * 3,
            constraints=[
                {"type": "ineq", "fun": lambda weights: 1 - low - weights.sum()},
                {"type": "ineq", "fun": lambda weights: weights.sum() - (1 - high)},
            ],
        )
        np.testing.assert_allclose(near, solved.x, atol=1e-3)
