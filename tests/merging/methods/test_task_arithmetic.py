from __future__ import annotations

import numpy as np
import pytest
from formulas import SLICES, WEIGHTS, flat, merged, models


@pytest.mark.parametrize("held", SLICES)
@pytest.mark.parametrize("weights", WEIGHTS)
def test_is_the_base_plus_the_weighted_task_vectors(weights, held):
    sources = models()[: len(weights)]
    base, *experts = (flat(model).astype(float) for model in sources)
    wanted = base + sum(w * (expert - base) for w, expert in zip(weights[1:], experts, strict=True))
    np.testing.assert_allclose(merged("task_arithmetic", sources, weights, held), wanted, atol=1e-6)


@pytest.mark.parametrize("weights", WEIGHTS)
def test_is_the_mean_of_all_sources_where_the_base_takes_what_is_left(weights):
    sources = models()[: len(weights)]
    wanted = np.average([flat(model).astype(float) for model in sources], axis=0, weights=weights)
    np.testing.assert_allclose(merged("task_arithmetic", sources, weights), wanted, atol=1e-6)


def test_weights_beyond_one_sum_up_whole_task_vectors():
    base, legal, code, _ = (flat(model).astype(float) for model in models())
    found = merged("task_arithmetic", models()[:3], [-1.0, 1.0, 1.0])
    np.testing.assert_allclose(found, legal + code - base, atol=1e-6)


def test_an_expert_of_weight_zero_and_a_base_alone_leave_the_rest():
    base, legal, code, _ = models()
    assert merged("task_arithmetic", [base, legal, code], [1.0, 0.0, 0.0]).tobytes() == flat(base).tobytes()
    with_it = merged("task_arithmetic", [base, legal, code], [0.5, 0.5, 0.0])
    assert with_it.tobytes() == merged("task_arithmetic", [base, legal], [0.5, 0.5]).tobytes()


def test_slices_change_no_bit():
    whole, cut = (merged("task_arithmetic", models(), [0.2, 0.4, 0.3, 0.1], held) for held in SLICES)
    assert whole.tobytes() == cut.tobytes()
