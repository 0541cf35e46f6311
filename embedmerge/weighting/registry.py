"""All strategies, as a recipe may name them."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Discriminator, Tag

from embedmerge.weighting.cocktail import Cocktail
from embedmerge.weighting.strategy import Explicit, Strategy, Uniform

STRATEGIES: dict[str, type[Strategy]] = {"explicit": Explicit, "uniform": Uniform, "cocktail": Cocktail}


def _named_strategy(value: Any) -> str | None:
    """`strategy`, which may be left out where weights are given."""
    if isinstance(value, Strategy):
        return str(value.strategy)  # type: ignore[attr-defined]
    if isinstance(value, dict):
        return str(value["strategy"]) if "strategy" in value else "explicit" if "weights" in value else None
    return None


Weighting = Annotated[
    Annotated[Explicit, Tag("explicit")]
    | Annotated[Uniform, Tag("uniform")]
    | Annotated[Cocktail, Tag("cocktail")],
    Discriminator(_named_strategy),
]
