"""All strategies, as a recipe may name them."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Discriminator, Tag, ValidationError

from embedmerge.errors import EmbedmergeError, nearest
from embedmerge.weighting.blocks import Blocks
from embedmerge.weighting.cocktail import Cocktail
from embedmerge.weighting.frank_wolfe import FrankWolfe
from embedmerge.weighting.front import Front
from embedmerge.weighting.greedy import Greedy
from embedmerge.weighting.metric import Metric
from embedmerge.weighting.search.evolution import Evolution
from embedmerge.weighting.search.quadratic import Quadratics
from embedmerge.weighting.search.study import Study
from embedmerge.weighting.strategy import Explicit, Strategy, Uniform

STRATEGIES: dict[str, type[Strategy]] = {
    "explicit": Explicit,
    "uniform": Uniform,
    "cocktail": Cocktail,
    "metric": Metric,
    "greedy": Greedy,
    "front": Front,
    "blocks": Blocks,
    "frank_wolfe": FrankWolfe,
    "cma": Evolution,
    "optuna": Study,
    "map": Quadratics,
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
    | Annotated[Metric, Tag("metric")]
    | Annotated[Greedy, Tag("greedy")]
    | Annotated[Front, Tag("front")]
    | Annotated[Blocks, Tag("blocks")]
    | Annotated[FrankWolfe, Tag("frank_wolfe")]
    | Annotated[Evolution, Tag("cma")]
    | Annotated[Study, Tag("optuna")]
    | Annotated[Quadratics, Tag("map")],
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
        what = {
            "missing": "missing, and this strategy needs it",
            "extra_forbidden": f"no such setting; {_instead(name, [str(part) for part in fault['loc']])}",
        }.get(fault["type"], fault["msg"])
        raise EmbedmergeError(f"strategy {name}: {key}: {what}") from error


def _instead(name: str, place: list[str]) -> str:
    """What a message says of a setting that a strategy has not."""
    *path, key = place
    having = [other for other, strategy in STRATEGIES.items() if key in strategy.model_fields]
    if having and not path:
        return f"{', '.join(having)} {'has' if len(having) == 1 else 'have'} it"
    level: Any = STRATEGIES[name]
    for part in path:
        level = level.model_fields[part].annotation if part in getattr(level, "model_fields", {}) else None
    return nearest(key, [field for field in getattr(level, "model_fields", {}) if field != "strategy"])
