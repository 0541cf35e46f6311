"""`embedmerge weigh`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from embedmerge.cli.options import (
    Base,
    Device,
    Experts,
    Json,
    Normalise,
    Param,
    Pooling,
    Precision,
    Target,
    TestData,
)
from embedmerge.errors import EmbedmergeError

if TYPE_CHECKING:
    from embedmerge.weighting.strategy import Choice


def command(
    base: Base,
    examples: Annotated[
        str | None,
        typer.Option(
            "--examples", help="JSONL with query, pos and neg, or BEIR FOLDER:SPLIT; held out from tuning."
        ),
    ] = None,
    expert: Experts = [],
    strategy: Annotated[str, typer.Option("--strategy", help="How weights are chosen.")] = "front",
    target: Target = None,
    guard: Annotated[
        str | None,
        typer.Option("--guard", help="Text whose ranking by the base is to be kept; .txt or .jsonl."),
    ] = None,
    guard_task: Annotated[
        list[str],
        typer.Option("--guard-task", help="BEIR FOLDER:SPLIT whose nDCG@10 is to be kept; repeat."),
    ] = [],
    objective: Annotated[
        str | None,
        typer.Option("--objective", help="What is best at the choice: loss, ndcg_at_10 or recall_at_100."),
    ] = None,
    target_share: Annotated[
        float | None, typer.Option("--target-share", help="cocktail: fixed weight of the target expert.")
    ] = None,
    temperature: Annotated[
        float | None,
        typer.Option("--temperature", help="cocktail: divides the losses; smaller separates more."),
    ] = None,
    negatives: Annotated[
        int | None,
        typer.Option("--negatives", help="cocktail: negatives drawn per row; all where left out."),
    ] = None,
    reference: Annotated[
        bool, typer.Option("--reference", help="cocktail: reproduce the weights of LM_Cocktail 0.0.4.")
    ] = False,
    seed: Annotated[int, typer.Option("--seed", help="Of every draw.")] = 0,
    method: Annotated[str, typer.Option("--method", help="How the mixture will be merged.")] = "linear",
    param: Param = [],
    settings: Annotated[
        list[str],
        typer.Option("--set", help="Any setting of the strategy, KEY=VALUE; repeat. guard.budget=0.05"),
    ] = [],
    test_data: TestData = False,
    precision: Precision = "fp32",
    device: Device = None,
    pooling: Pooling = None,
    normalise: Normalise = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="File to keep what --json prints in.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Choose one weight per source: the best on examples of the target that keeps general quality."""
    from embedmerge.cli.console import Screen, print_json
    from embedmerge.cli.options import encoding, method_parameters, named_sources
    from embedmerge.evaluation.cost import measured

    given = {
        "examples": examples,
        "guard": {key: value for key, value in (("text", guard), ("tasks", guard_task)) if value},
        "objective": objective,
        "target_share": target_share,
        "temperature": temperature,
        "negatives": negatives,
        "seed": seed or None,
        "reference": reference or None,
        "i_know_this_is_test_data": test_data or None,
    }
    stated = {key: value for key, value in given.items() if value not in (None, {})}
    for key, value in map(_setting, settings):
        _put(stated, key, value)
    with Screen(quiet=as_json) as screen, measured() as meter:
        from embedmerge.api import weigh
        from embedmerge.weighting.registry import parse_strategy
        from embedmerge.weighting.strategy import MethodChoice

        chosen = parse_strategy(strategy, stated)
        sources = named_sources(base, expert, target, pooling, normalise)
        by = MethodChoice(method, method_parameters(param))
        on = encoding(precision, devices=[device] if device else [])
        choice = weigh(sources, chosen, on, screen.progress, method=by)
    facts = {**_facts(strategy, choice), "cost": asdict(meter.cost)}
    if output is not None:
        from embedmerge.atomic import write_json

        write_json(output, facts)
    if as_json:
        print_json(facts)
        return
    from rich.console import Console

    from embedmerge.report.costs import cost_table
    from embedmerge.report.terminal import print_selection

    console = Console()
    print_selection(choice, console)
    console.print()
    console.print(cost_table({"weighing": meter.cost}))


def _facts(strategy: str, choice: Choice) -> dict[str, Any]:
    """As `--json` says it."""
    from embedmerge.weighting.strategy import choice_to_json

    plain = choice_to_json(choice)
    names = ("losses", "losses_se", "parameters", "selection")
    return {"weights": plain["weights"], "strategy": strategy, **{name: plain[name] for name in names}}


def _setting(text: str) -> tuple[str, Any]:
    """A key and its value as YAML reads it."""
    import yaml

    key, equals, value = text.partition("=")
    if not key or not equals:
        raise EmbedmergeError(f"--set {text}: must be KEY=VALUE, such as guard.budget=0.05")
    try:
        return key, yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise EmbedmergeError(f"--set {text}: no value that YAML can read") from error


def _put(settings: dict[str, Any], key: str, value: Any) -> None:
    """Set a value, one level deeper for every dot; a mapping leaves alone what it does not name."""
    if isinstance(value, dict):
        for inner, item in value.items():
            _put(settings, f"{key}.{inner}", item)
        return
    *path, last = key.split(".")
    for part in path:
        settings = settings.setdefault(part, {})
        if not isinstance(settings, dict):
            raise EmbedmergeError(f"--set {key}: {part} is given as a value too; give one of the two")
    settings[last] = value
