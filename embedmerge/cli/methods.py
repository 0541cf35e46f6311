"""`embedmerge methods`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any

import typer

from embedmerge.cli.options import Json

if TYPE_CHECKING:
    from rich.console import Console

    from embedmerge.merging.spec import MethodSpec, Parameter

ANY_NUMBER = (1, None)


def command(
    name: Annotated[str | None, typer.Argument(help="One method, to see all of it.")] = None,
    as_json: Json = False,
) -> None:
    """List the merging methods with their parameters; name one to see all of it."""
    from embedmerge.merging.registry import method, methods

    chosen = [method(name)] if name else list(methods().values())
    if as_json:
        from embedmerge.cli.console import print_json
        from embedmerge.merging.modifiers import HELP

        print_json({"methods": [_as_json(spec) for spec in chosen], "modifiers": HELP})
        return
    from rich.console import Console

    console = Console(highlight=False)
    if name:
        _print_one(chosen[0], console)
    else:
        _print_all(chosen, console)


def _print_all(specs: list[MethodSpec], console: Console) -> None:
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 1, 0))
    table.add_column("method", no_wrap=True, style="bold")
    table.add_column("what it does, parameters with defaults, source", ratio=1, overflow="fold")
    for spec in specs:
        lines = [escape(spec.summary)]
        if spec.parameters:
            lines.append(escape(", ".join(_in_short(key, each) for key, each in spec.parameters.items())))
        if needs := _needs(spec):
            lines.append(f"needs {escape(', '.join(needs))}")
        table.add_row(spec.name, "\n".join([*lines, f"[dim]{escape(spec.citation)}[/dim]"]))
    console.print(table)
    console.print("`embedmerge methods NAME` explains the parameters, and the modifiers of every method.")


def _in_short(name: str, parameter: Parameter) -> str:
    """A parameter with its default and what it may be: `density 0.2 (0 to 1)`, `agg mean|sum`."""
    default = _shown(parameter.default)
    others = [choice for choice in parameter.choices if choice != default]
    if others:
        return "|".join([f"{name} {default}", *others])
    bounds = _bounds(parameter)
    return f"{name} {default}" + (f" ({bounds})" if bounds else "")


def _bounds(parameter: Parameter) -> str:
    low, high = (None if math.isinf(bound) else f"{bound:g}" for bound in (parameter.low, parameter.high))
    if low and high:
        return f"{low} to {high}"
    return f"from {low}" if low else f"to {high}" if high else ""


def _print_one(spec: MethodSpec, console: Console) -> None:
    from rich.markup import escape
    from rich.table import Table

    from embedmerge.merging.modifiers import HELP

    console.print(f"[bold]{escape(spec.name)}[/bold]  {escape(spec.summary)}")
    console.print(escape(spec.citation), style="dim")
    console.print(f"needs {escape(', '.join(_needs(spec) or ['one expert or more']))}")
    console.print()
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in ("parameter", "default", "range"):
        table.add_column(column, no_wrap=column != "range")
    table.add_column("what it does", ratio=1)
    for key, parameter in spec.parameters.items():
        table.add_row(
            key, _shown(parameter.default), escape(_range(parameter)), escape(_help(parameter)), style="bold"
        )
    for key, text in HELP.items():
        if key not in spec.parameters:
            table.add_row(key, "", "modifier", escape(text))
    console.print(table)


def _needs(spec: MethodSpec) -> list[str]:
    """What a method asks of its sources beyond one expert, in words."""
    fewest, most = spec.experts
    needs = [f"{'exactly' if most else 'at least'} {fewest} expert{'s' * (fewest > 1)}"]
    needs = needs if spec.experts != ANY_NUMBER else []
    if not spec.weights_default:
        needs.append("weights")
    if spec.statistics:
        needs.append("unlabelled text")
    if spec.ordered:
        needs.append("an order of the experts")
    return needs


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, int | float) else str(value)


def _range(parameter: Parameter) -> str:
    if parameter.is_number:
        return parameter.range
    return ", ".join(parameter.choices) or "true, false"


def _help(parameter: Parameter) -> str:
    if parameter.by_expert:
        return f"{parameter.help} (may differ from expert to expert)"
    return f"{parameter.help} (one for all tensors)" if parameter.whole else parameter.help


def _as_json(spec: MethodSpec) -> dict[str, Any]:
    return {
        "name": spec.name,
        "summary": spec.summary,
        "citation": spec.citation,
        "experts": list(spec.experts),
        "weights_needed": not spec.weights_default,
        "statistics": spec.statistics,
        "ordered": spec.ordered,
        "matrices_only": spec.matrices,
        "parameters": {
            name: {
                "default": parameter.default,
                "help": parameter.help,
                "low": _bound(parameter.low),
                "high": _bound(parameter.high),
                "choices": list(parameter.choices) or None,
                "per_tensor": parameter.is_number and not parameter.whole,
                "per_expert": parameter.by_expert,
            }
            for name, parameter in spec.parameters.items()
        },
    }


def _bound(value: float) -> float | None:
    return None if math.isinf(value) else value
