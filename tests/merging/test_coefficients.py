from __future__ import annotations

import math

import pytest

from embedmerge.errors import EmbedmergeError
from embedmerge.merging.coefficients import Coefficients

NAMES = ["base", "legal", "code"]


def refused(weights):
    with pytest.raises(EmbedmergeError) as caught:
        Coefficients.explicit(NAMES, weights)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def test_weights_keep_the_order_of_the_sources():
    coefficients = Coefficients.explicit(NAMES, [0.5, 0.3, 0.2])
    assert list(coefficients.weights.items()) == [("base", 0.5), ("legal", 0.3), ("code", 0.2)]
    assert coefficients.for_tensor("any") == (0.5, 0.3, 0.2)


def test_integers_are_taken_as_floats():
    weights = Coefficients.explicit(NAMES, [0, 1, 0]).weights
    assert all(type(weight) is float for weight in weights.values())


def test_extrapolation_is_allowed_where_the_sum_is_one():
    assert Coefficients.explicit(NAMES, [-0.5, 1.0, 0.5]).for_tensor("any") == (-0.5, 1.0, 0.5)


@pytest.mark.parametrize("weights", [[0.5, 0.5], [0.25] * 4, []])
def test_another_number_of_weights_is_refused_and_the_sources_named(weights):
    message = refused(weights)
    assert f"{len(weights)} given for 3 sources" in message
    assert "base, legal, code" in message


@pytest.mark.parametrize("weight", [math.nan, math.inf, -math.inf])
def test_weights_must_be_finite(weight):
    assert "not all finite" in refused([0.5, weight, 0.5])


@pytest.mark.parametrize("weights", [[0.5, 0.5, 0.5], [0, 0, 0], [0.3333, 0.3333, 0.3332]])
def test_a_sum_other_than_one_is_refused_and_shown(weights):
    assert f"= {math.fsum(weights):.6g}" in refused(weights)


def test_a_sum_that_is_one_but_for_rounding_passes():
    Coefficients.explicit(NAMES, [0.33333, 0.33333, 0.33333])
    Coefficients.explicit(NAMES, [0.1, 0.2, 0.7])


def test_uniform_gives_all_the_same_and_one_in_sum():
    assert Coefficients.uniform(NAMES).for_tensor("any") == (1 / 3, 1 / 3, 1 / 3)
