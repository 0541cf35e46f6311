"""`embedmerge merge --from-mergekit`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from embedmerge.errors import EmbedmergeError

if TYPE_CHECKING:
    from embedmerge.api import Merged
    from embedmerge.recipe import Recipe


def require_alone(given: dict[str, Any]) -> None:
    """Refuse options that say what the YAML says already.

    Args:
        given: Option -> its value, None or empty where it was left out.

    Raises:
        EmbedmergeError: One of them was given.
    """
    for option in (option for option, value in given.items() if value):
        msg = f"{option}: the YAML of --from-mergekit says it; change it there, or leave --from-mergekit out"
        raise EmbedmergeError(msg)


def merge_translated(
    path: Path,
    output: Path | None,
    pooling: str | None,
    normalise: bool | None,
    shard_bytes: int,
    *,
    as_json: bool,
) -> None:
    """Merge as mergekit's YAML says, and print it as a recipe, with what differs.

    Args:
        path: The YAML.
        output: Folder to create; None to merge nothing.
        pooling: How the base pools, where its folder does not say.
        normalise: Whether its vectors are normalised, where `pooling` is given.
        shard_bytes: Size from which on a file of weights is cut into several.
        as_json: Print JSON alone.

    Raises:
        EmbedmergeError: The YAML is not translated, or the merge is refused.
    """
    import yaml

    from embedmerge.cli.console import print_json, print_merged
    from embedmerge.from_mergekit.translation import translate

    translation = translate(path, pooling, normalise)
    merged = None if output is None else _merge(translation.parsed, output, shard_bytes, quiet=as_json)
    if as_json:
        facts = merged.facts if merged else {}
        print_json({**facts, "recipe": translation.recipe, "notes": list(translation.notes)})
        return
    typer.echo(yaml.safe_dump(translation.recipe, sort_keys=False, allow_unicode=True).rstrip())
    for note in translation.notes:
        typer.echo(f"differs from mergekit: {note}", err=True)
    if merged:
        typer.echo()
        print_merged(merged)


def _merge(recipe: Recipe, output: Path, shard_bytes: int, *, quiet: bool) -> Merged:
    from embedmerge.api import merge
    from embedmerge.cli.console import Screen
    from embedmerge.weighting.strategy import Explicit

    assert isinstance(recipe.weighting, Explicit)  # what a translation always is
    with Screen(quiet=quiet) as screen:
        return merge(
            recipe.sources(),
            recipe.weighting.weights,
            output,
            method=recipe.method.name,
            parameters=recipe.method.parameters,
            dtype=recipe.method.dtype,
            shard_bytes=shard_bytes,
            progress=screen.progress,
        )
