from __future__ import annotations

import math

import pytest

from embedmerge.errors import EmbedmergeError
from embedmerge.merging.anatomy import Site
from embedmerge.merging.coefficients import Coefficients

NAMES = ["base", "legal", "code"]
FIRST, SECOND, THIRD = (
    Site.of(f"encoder.layer.{block}.output.dense.weight", (4, 4), 3) for block in range(3)
)
WORDS = Site.of("embeddings.word_embeddings.weight", (9, 4), 3)
HEAD = Site.of("linear.weight", (4, 4), 3, head=True)


def refused(make, *given):
    with pytest.raises(EmbedmergeError) as caught:
        make(NAMES, *given)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert message.startswith("weights: ")
    return message


def test_weights_keep_the_order_of_the_sources():
    coefficients = Coefficients.explicit(NAMES, [0.5, 0.3, 0.2])
    assert list(coefficients.weights.items()) == [("base", 0.5), ("legal", 0.3), ("code", 0.2)]
    assert coefficients.for_tensor(FIRST) == (0.5, 0.3, 0.2)


def test_integers_are_taken_as_floats():
    weights = Coefficients.explicit(NAMES, [0, 1, 0]).weights
    assert all(type(weight) is float for weight in weights.values())


def test_extrapolation_is_allowed_where_the_sum_is_one():
    assert Coefficients.explicit(NAMES, [-0.5, 1.0, 0.5]).for_tensor(FIRST) == (-0.5, 1.0, 0.5)


@pytest.mark.parametrize("weights", [[0.5, 0.5], [0.25] * 4, []])
def test_another_number_of_weights_is_refused_and_the_sources_named(weights):
    message = refused(Coefficients.explicit, weights)
    assert f"{len(weights)} given for 3 sources" in message
    assert "base, legal, code" in message


@pytest.mark.parametrize("weight", [math.nan, math.inf, -math.inf])
def test_weights_must_be_finite(weight):
    assert "not all finite" in refused(Coefficients.explicit, [0.5, weight, 0.5])


@pytest.mark.parametrize("weights", [[0.5, 0.5, 0.5], [0, 0, 0], [0.3333, 0.3333, 0.3332]])
def test_a_sum_other_than_one_is_refused_and_shown(weights):
    assert f"= {math.fsum(weights):.6g}" in refused(Coefficients.explicit, weights)


def test_a_sum_that_is_one_but_for_rounding_passes():
    Coefficients.explicit(NAMES, [0.33333, 0.33333, 0.33333])
    Coefficients.explicit(NAMES, [0.1, 0.2, 0.7])


def test_uniform_gives_all_the_same_and_one_in_sum():
    assert Coefficients.uniform(NAMES).for_tensor(FIRST) == (1 / 3, 1 / 3, 1 / 3)


def test_experts_alone_leave_nothing_to_the_base():
    assert Coefficients.experts_alone(NAMES).for_tensor(FIRST) == (0, 0.5, 0.5)


def test_by_name_the_order_is_the_sources_and_the_base_takes_what_is_left():
    coefficients = Coefficients.named(NAMES, {"code": 0.1, "legal": 0.6})
    assert list(coefficients.weights.items()) == [("base", 0.3), ("legal", 0.6), ("code", 0.1)]
    assert coefficients.by_tensor is None
    assert Coefficients.named(NAMES, {"code": 0.1, "legal": 0.6, "base": 0.3}) == coefficients


def test_a_weight_that_differs_from_tensor_to_tensor_is_taken_from_the_base():
    given = {"legal": {"block 0": 0.2, "*embeddings*": 0, "*": 0.5}, "code": [0.0, 0.4]}
    coefficients = Coefficients.named(NAMES, given)
    wanted = {FIRST: (0.8, 0.2, 0.0), SECOND: (0.3, 0.5, 0.2), THIRD: (0.1, 0.5, 0.4)}
    wanted |= {WORDS: (1.0, 0.0, 0.0), HEAD: (0.1, 0.5, 0.4)}
    for site, weights in wanted.items():
        assert coefficients.for_tensor(site) == pytest.approx(weights, abs=1e-12)


def test_an_expert_beside_it_keeps_its_one_weight():
    coefficients = Coefficients.named(NAMES, {"legal": [0.2, 0.6], "code": 0.25})
    assert coefficients.for_tensor(FIRST) == pytest.approx((0.55, 0.2, 0.25))
    assert coefficients.for_tensor(THIRD) == pytest.approx((0.15, 0.6, 0.25))


def test_one_number_stands_for_a_varying_weight_where_one_is_wanted():
    weights = Coefficients.named(
        NAMES, {"legal": [0.0, 0.2, 0.8], "code": {"block 0": 1, "*": [0.1, 0.3]}}
    ).weights
    # The means over the depth: half of 0.1 and half of 0.5; of what `*` says, 0.2.
    assert weights == pytest.approx({"base": 0.5, "legal": 0.3, "code": 0.2})
    assert Coefficients.named(NAMES, {"legal": [0.3], "code": 0.2}).weights["legal"] == 0.3


def test_where_no_selector_fits_the_typical_weight_holds():
    coefficients = Coefficients.explicit(NAMES, [0.5, 0.3, 0.2]).with_experts({"legal": {"block 0": 0.1}})
    assert coefficients.for_tensor(FIRST) == pytest.approx((0.7, 0.1, 0.2))
    assert coefficients.for_tensor(SECOND) == pytest.approx((0.5, 0.3, 0.2))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"legl": 1.0}, "no source is named 'legl'"),
        ({"legal": 1.0}, "no weight for code"),
        ({"legal": 0.5, "code": 0.5, "base": 0.5}, "must be 1"),
        ({"legal": {"block 0": 0.5}, "code": 0.5}, "legal: say with '*'"),
        ({"legal": [0.1, 0.5], "code": 0.2, "base": 0.5}, "base takes what is left"),
        ({"legal": "half", "code": 0.2}, "legal: 'half' is no finite number"),
    ],
)
def test_weights_by_name_that_do_not_fit_are_refused(given, words):
    assert words in refused(Coefficients.named, given)


@pytest.mark.parametrize("name", ["base", "other"])
def test_only_an_experts_weight_differs_from_tensor_to_tensor(name):
    with pytest.raises(EmbedmergeError, match=f"'{name}' is no expert.*legal, code"):
        Coefficients.uniform(NAMES).with_experts({name: 0.5})


def test_an_expert_counts_where_any_tensor_gives_it_a_weight():
    given = {"legal": {"block 0": [0.0, 0.1], "*": 0.0}, "code": [0.0, 0.0]}
    coefficients = Coefficients.named(NAMES, given)
    assert coefficients.counts("legal")
    assert not coefficients.counts("code")
    alone = Coefficients.explicit(NAMES, [0.2, 0.0, 0.8])
    assert [alone.counts(name) for name in NAMES[1:]] == [False, True]
    # What differs from tensor to tensor stands before the one number.
    assert not alone.with_experts({"code": {"*": 0.0}}).counts("code")
