from __future__ import annotations

from types import SimpleNamespace

import pytest

from embedmerge.errors import EmbedmergeError
from embedmerge.merging.anatomy import Site
from embedmerge.merging.coefficients import Coefficients
from embedmerge.weighting.registry import parse_strategy
from embedmerge.weighting.strategy import Explicit


def chosen(weights: dict[str, object]) -> Coefficients:
    names = ["base", "legal", "peer"]
    strategy = Explicit(weights=weights)
    strategy.require_consistent(names)
    return strategy.choose(SimpleNamespace(names=names)).coefficients


def test_the_base_takes_what_is_left() -> None:
    assert chosen({"peer": 0.3, "legal": 0.25}).weights == {"base": 0.45, "legal": 0.25, "peer": 0.3}


def test_weights_may_differ_from_tensor_to_tensor() -> None:
    coefficients = chosen({"legal": {"block 0": 0.2, "*": 0.4}, "peer": [0.0, 0.6]})
    assert coefficients.weights == {"base": 0.3, "legal": 0.4, "peer": 0.3}
    first = Site.of("encoder.layer.0.output.dense.weight", (2, 2), 3)
    assert coefficients.for_tensor(first) == pytest.approx((0.8, 0.2, 0.0))
    last = Site.of("encoder.layer.2.output.dense.weight", (2, 2), 3)
    assert coefficients.for_tensor(last) == pytest.approx((0.0, 0.4, 0.6))


@pytest.mark.parametrize(
    ("weights", "says"),
    [
        ({"legal": 0.5, "base": 0.4}, "must be 1"),
        ({"lega": 0.5}, "no source is named 'lega'"),
        ({"base": 1.0}, "no weight for legal"),
        ({"legal": float("nan")}, "finite"),
        ({"legal": {"block 0": 0.5}}, r"'\*' what holds"),
        ({"legal": [0.2, "x"]}, "no finite number"),
        ({"base": 0.5, "legal": [0.2, 0.8]}, "leave it out"),
    ],
)
def test_weights_that_do_not_fit_are_refused(weights: dict[str, float], says: str) -> None:
    with pytest.raises(EmbedmergeError, match=says):
        Explicit(weights=weights).require_consistent(["base", "legal"])


@pytest.mark.parametrize(
    ("name", "settings", "says"),
    [
        ("frontier", {}, "no such strategy"),
        ("cocktail", {}, "examples: missing"),
        ("cocktail", {"examples": "x", "temperature": 0}, "temperature"),
        ("uniform", {"examples": "x"}, "examples"),
    ],
)
def test_strategies_by_name_say_what_is_wrong(name: str, settings: dict[str, object], says: str) -> None:
    with pytest.raises(EmbedmergeError, match=says):
        parse_strategy(name, settings)
