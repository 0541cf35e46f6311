"""`embedmerge run`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from embedmerge.cli.options import DataDir, Json, TestData
from embedmerge.errors import EmbedmergeError

if TYPE_CHECKING:
    from embedmerge.recipe import Recipe


def command(
    recipe: Annotated[Path, typer.Argument(help="Recipe, a YAML file; configs/ has some to copy.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Run folder: model, reports and lock.")
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start over instead of going on.")] = False,
    test_data: TestData = False,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Do the whole job: choose weights, merge, check target and general retrieval, export.

    Run it again after an interruption and it goes on where it stopped.
    """
    from embedmerge.cli.console import Screen, print_json
    from embedmerge.evaluation.cost import measured
    from embedmerge.recipe import load_recipe

    loaded = load_recipe(recipe)
    if test_data:
        loaded = _may_see_test_data(loaded)
    folder = output or (Path(loaded.output.folder) if loaded.output.folder else None)
    if folder is None:
        raise EmbedmergeError("-o: name the run folder, or give the recipe an output.folder")
    with Screen(quiet=as_json) as screen, measured() as meter:
        screen.stage("loading libraries")
        from embedmerge.run import run_recipe

        report = run_recipe(loaded, folder, fresh=fresh, data_dir=data_dir, watcher=screen)
    from embedmerge.report.serialise import to_json

    if as_json:
        print_json(to_json(report))
        return
    from rich.console import Console

    from embedmerge.report.costs import cost_table
    from embedmerge.report.terminal import print_report

    console = Console()
    print_report(report, console)
    console.print()
    console.print(cost_table({"this run": meter.cost}))
    typer.echo(f"\nmodel   {folder / 'model'}\nreport  {folder / 'report.html'}")


def _may_see_test_data(recipe: Recipe) -> Recipe:
    """The same recipe, whose weights may be chosen on a test split."""
    weighting = recipe.weighting
    if "i_know_this_is_test_data" not in type(weighting).model_fields:
        typer.echo(
            f"note: --i-know-this-is-test-data: strategy {weighting.strategy} has no such setting", err=True
        )
        return recipe
    allowed = weighting.model_copy(update={"i_know_this_is_test_data": True})
    return recipe.model_copy(update={"weighting": allowed})
