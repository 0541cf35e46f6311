"""All strategies, as a recipe may name them."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Discriminator, Tag, ValidationError

from embedmerge.errors import EmbedmergeError
from embedmerge.weighting.cocktail import Cocktail
from embedmerge.weighting.front import Front
from embedmerge.weighting.strategy import Explicit, Strategy, Uniform

STRATEGIES: dict[str, type[Strategy]] = {
    "explicit": Explicit,
    "uniform": Uniform,
    "cocktail": Cocktail,
    "front": Front,
}


def _named_strategy(value: Any) -> str | None:
    """`strategy`, which may be left out where weights are given."""
    if isinstance(value, Strategy):
        return str(value.strategy)  # type: ignore[attr-defined]
    if isinstance(value, dict):
        return str(value.get("strategy") or ("explicit" if "weights" in value else "front"))
    return None


Weighting = Annotated[
    Annotated[Explicit, Tag("explicit")]
    | Annotated[Uniform, Tag("uniform")]
    | Annotated[Cocktail, Tag("cocktail")]
    | Annotated[Front, Tag("front")],
    Discriminator(_named_strategy),
]


def parse_strategy(name: str, settings: dict[str, Any]) -> Strategy:
    """A strategy by name with its settings, for the command line and Python callers.

    >>> parse_strategy("cocktail", {"examples": "few.jsonl"}).temperature
    0.5

    Raises:
        EmbedmergeError: No such strategy, or a setting it has not or that does not fit.
    """
    if name not in STRATEGIES:
        raise EmbedmergeError(f"strategy {name}: no such strategy (there are: {', '.join(STRATEGIES)})")
    try:
        return STRATEGIES[name].model_validate(settings)
    except ValidationError as error:
        fault = error.errors()[0]
        key = ".".join(map(str, fault["loc"]))
        what = "missing, and this strategy needs it" if fault["type"] == "missing" else fault["msg"]
        raise EmbedmergeError(f"strategy {name}: {key}: {what}") from error
