"""`embedmerge merge`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from embedmerge.cli.options import Base, Experts, Json, Normalise, Pooling
from embedmerge.errors import EmbedmergeError


def command(
    base: Base,
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder to create.")],
    expert: Experts = [],
    weights: Annotated[
        str | None,
        typer.Option(
            "--weights",
            help="Weights, base first, then the experts in order; sum 1. Or by name: {legal: 0.4}.",
        ),
    ] = None,
    method: Annotated[str, typer.Option("--method", help="Merging method.")] = "linear",
    param: Annotated[
        list[str], typer.Option("--param", help="A parameter of the method, NAME=VALUE; repeat.")
    ] = [],
    dtype: Annotated[
        str | None, typer.Option("--dtype", help="float32, float16 or bfloat16; else the base's.")
    ] = None,
    shard_size: Annotated[
        str | None, typer.Option("--shard-size", help="Cut files of weights at this size, such as 2GB.")
    ] = None,
    text: Annotated[
        Path | None, typer.Option("--text", help="Unlabelled text for fisher and regmean: .txt or .jsonl.")
    ] = None,
    pooling: Pooling = None,
    normalise: Normalise = None,
    as_json: Json = False,
) -> None:
    """Merge with given weights into a sentence-transformers folder."""
    from embedmerge.api import merge
    from embedmerge.cli.console import Screen, print_json
    from embedmerge.cli.options import named_sources
    from embedmerge.mixture import SHARD_BYTES

    if dtype not in (None, "float32", "float16", "bfloat16"):
        raise EmbedmergeError(f"--dtype {dtype}: must be float32, float16 or bfloat16")
    with Screen(quiet=as_json) as screen:
        merged = merge(
            named_sources(base, expert, pooling=pooling, normalise=normalise),
            None if weights is None else _weights(weights),
            output,
            method=method,
            parameters=_parameters(param),
            dtype=dtype,
            shard_bytes=SHARD_BYTES if shard_size is None else _bytes(shard_size),
            texts=text,
            progress=screen.progress,
        )
    if as_json:
        print_json({"model": str(merged.folder), "weights": merged.weights, "sha256": merged.sha256})
        return
    for warning in merged.warnings:
        typer.echo(f"note: {warning}", err=True)
    shares = ", ".join(f"{name} {weight:g}" for name, weight in merged.weights.items())
    typer.echo(f"{merged.folder}: {shares}")


def _parameters(given: list[str]) -> dict[str, Any]:
    """NAME=VALUE pairs, values read as YAML reads them."""
    import yaml

    pairs = [text.partition("=") for text in given]
    for name, equals, _ in pairs:
        if not name or not equals:
            raise EmbedmergeError(f"--param {name}: must be NAME=VALUE, such as density=0.2")
    return {name: yaml.safe_load(value) for name, _, value in pairs}


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
