from __future__ import annotations

import pytest

from embedmerge.errors import EmbedmergeError
from embedmerge.weighting.registry import parse_strategy
from embedmerge.weighting.strategy import Explicit


def test_the_base_takes_what_is_left() -> None:
    assert Explicit(weights={"legal": 0.25, "peer": 0.25}).ordered(["base", "legal", "peer"]) == [
        0.5,
        0.25,
        0.25,
    ]


@pytest.mark.parametrize(
    ("weights", "says"),
    [
        ({"legal": 0.5, "base": 0.4}, "must be 1"),
        ({"lega": 0.5}, "no source is named 'lega'"),
        ({"base": 1.0}, "no weight for legal"),
        ({"legal": float("nan")}, "finite"),
    ],
)
def test_weights_that_do_not_fit_are_refused(weights: dict[str, float], says: str) -> None:
    with pytest.raises(EmbedmergeError, match=says):
        Explicit(weights=weights).require_consistent(["base", "legal"])


@pytest.mark.parametrize(
    ("name", "settings", "says"),
    [
        ("front", {}, "no such strategy"),
        ("cocktail", {}, "examples: missing"),
        ("cocktail", {"examples": "x", "temperature": 0}, "temperature"),
        ("uniform", {"examples": "x"}, "examples"),
    ],
)
def test_strategies_by_name_say_what_is_wrong(name: str, settings: dict[str, object], says: str) -> None:
    with pytest.raises(EmbedmergeError, match=says):
        parse_strategy(name, settings)
