"""`embedmerge merge`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from embedmerge.cli.options import Experts, Json, Normalise, Param, Pooling
from embedmerge.errors import EmbedmergeError

Option = TypeVar("Option")


def command(
    base: Annotated[str | None, typer.Option("--base", help="Folder or hub id of the base.")] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Folder to create.")] = None,
    expert: Experts = [],
    weights: Annotated[
        str | None,
        typer.Option(
            "--weights",
            help="Weights, base first, then the experts in order; sum 1. Or by name: {legal: 0.4}.",
        ),
    ] = None,
    method: Annotated[
        str | None, typer.Option("--method", help="Merging method; linear where left out.")
    ] = None,
    param: Param = [],
    dtype: Annotated[
        str | None, typer.Option("--dtype", help="float32, float16 or bfloat16; else the base's.")
    ] = None,
    shard_size: Annotated[
        str | None, typer.Option("--shard-size", help="Cut files of weights at this size, such as 2GB.")
    ] = None,
    text: Annotated[
        Path | None, typer.Option("--text", help="Unlabelled text for fisher and regmean: .txt or .jsonl.")
    ] = None,
    from_mergekit: Annotated[
        Path | None,
        typer.Option("--from-mergekit", help="A YAML of mergekit's, in place of base, experts and method."),
    ] = None,
    recipe_only: Annotated[
        bool, typer.Option("--recipe-only", help="With --from-mergekit: print the recipe, merge nothing.")
    ] = False,
    pooling: Pooling = None,
    normalise: Normalise = None,
    as_json: Json = False,
) -> None:
    """Merge with given weights into a sentence-transformers folder."""
    from embedmerge.mixture import SHARD_BYTES

    shard_bytes = SHARD_BYTES if shard_size is None else _bytes(shard_size)
    if from_mergekit is not None:
        from embedmerge.cli.from_mergekit import merge_translated, require_alone

        given = {"--base": base, "--expert": expert, "--weights": weights, "--method": method}
        require_alone({**given, "--param": param, "--dtype": dtype, "--text": text})
        target = None if recipe_only else _stated(output, "-o", "the folder to create")
        merge_translated(from_mergekit, target, pooling, normalise, shard_bytes, as_json=as_json)
        return
    if recipe_only:
        raise EmbedmergeError("--recipe-only: prints what --from-mergekit reads; give that too")
    base = _stated(base, "--base", "the model that the experts were tuned from")
    output = _stated(output, "-o", "the folder to create")
    from embedmerge.api import merge
    from embedmerge.cli.console import Screen, print_json, print_merged
    from embedmerge.cli.options import method_parameters, named_sources

    if dtype not in (None, "float32", "float16", "bfloat16"):
        raise EmbedmergeError(f"--dtype {dtype}: must be float32, float16 or bfloat16")
    with Screen(quiet=as_json) as screen:
        merged = merge(
            named_sources(base, expert, pooling=pooling, normalise=normalise),
            None if weights is None else _weights(weights),
            output,
            method=method or "linear",
            parameters=method_parameters(param),
            dtype=dtype,
            shard_bytes=shard_bytes,
            texts=text,
            progress=screen.progress,
        )
    if as_json:
        print_json(merged.facts)
    else:
        print_merged(merged)


def _stated(value: Option | None, option: str, what: str) -> Option:
    if value is None:
        raise EmbedmergeError(f"{option}: missing; name {what}")
    return value


def _weights(text: str) -> list[float] | dict[str, Any]:
    """Numbers in the order of the sources, or a YAML mapping from names to what a weight may be."""
    if not text.lstrip().startswith("{"):
        return _numbers(text)
    import yaml

    try:
        named = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise EmbedmergeError(f"--weights {text}: no mapping that YAML can read") from error
    return dict(named)


def _bytes(text: str) -> int:
    """A size such as 2GB."""
    from pydantic import ByteSize, TypeAdapter, ValidationError

    try:
        size = int(TypeAdapter(ByteSize).validate_python(text))
    except ValidationError as error:
        raise EmbedmergeError(f"--shard-size {text}: must be a size, such as 500MB or 2GB") from error
    if size <= 0:
        raise EmbedmergeError(f"--shard-size {text}: must be more than nothing")
    return size


def _numbers(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError as error:
        raise EmbedmergeError(f"--weights {text}: must be numbers between commas, such as 0.5,0.5") from error
