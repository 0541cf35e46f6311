"""`embedmerge weigh`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from embedmerge.cli.options import Base, Experts, Json, Normalise, Pooling, Precision, Target


def command(
    base: Base,
    examples: Annotated[
        Path | None, typer.Option("--examples", help="JSONL with query, pos and neg; held out from tuning.")
    ] = None,
    expert: Experts = [],
    strategy: Annotated[str, typer.Option("--strategy", help="How weights are chosen.")] = "cocktail",
    target: Target = None,
    target_share: Annotated[
        float | None, typer.Option("--target-share", help="Fixed weight of the target expert.")
    ] = None,
    temperature: Annotated[
        float | None, typer.Option("--temperature", help="Divides the losses; smaller separates more.")
    ] = None,
    negatives: Annotated[
        int | None, typer.Option("--negatives", help="Negatives drawn per row; all where left out.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of that draw.")] = 0,
    reference: Annotated[
        bool, typer.Option("--reference", help="Reproduce the weights of LM_Cocktail 0.0.4.")
    ] = False,
    precision: Precision = "fp32",
    pooling: Pooling = None,
    normalise: Normalise = None,
    as_json: Json = False,
) -> None:
    """Choose one weight per source from a few examples of the target domain."""
    from embedmerge.api import weigh
    from embedmerge.cli.console import Screen, print_json
    from embedmerge.cli.options import encoding, named_sources
    from embedmerge.weighting.registry import parse_strategy

    given = {
        "examples": None if examples is None else str(examples),
        "target_share": target_share,
        "temperature": temperature,
        "negatives": negatives,
        "seed": seed or None,
        "reference": reference or None,
    }
    chosen = parse_strategy(strategy, {key: value for key, value in given.items() if value is not None})
    with Screen(quiet=as_json) as screen:
        sources = named_sources(base, expert, target, pooling, normalise)
        choice = weigh(sources, chosen, encoding(precision), screen.progress)
    weights = choice.coefficients.weights
    if as_json:
        print_json(
            {
                "weights": weights,
                "strategy": strategy,
                "losses": choice.losses,
                "losses_se": choice.losses_se,
            }
        )
        return
    for name, weight in weights.items():
        error = f" ± {choice.losses_se[name]:.3f}" if name in choice.losses_se else ""
        loss = f"  loss {choice.losses[name]:.3f}{error}" if name in choice.losses else ""
        typer.echo(f"{weight:7.4f}  {name}{loss}")
