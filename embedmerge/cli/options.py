"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from embedmerge.errors import EmbedmergeError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from embedmerge.sources import SourceSpec

Base = Annotated[str, typer.Option("--base", help="Folder or hub id of the base.")]
Experts = Annotated[
    list[str], typer.Option("--expert", help="Folder or hub id of an expert; repeat. NAME=PATH names it.")
]
Pooling = Annotated[
    str | None,
    typer.Option(
        "--pooling", help="How the base pools, where its folder does not say: cls, mean, lasttoken."
    ),
]
Normalise = Annotated[
    bool | None,
    typer.Option("--normalise/--no-normalise", help="Whether its vectors are normalised; with --pooling."),
]
Target = Annotated[
    str | None, typer.Option("--target", help="Name of the expert that is your own fine-tune.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON alone on standard output.")]
TestData = Annotated[
    bool,
    typer.Option(
        "--i-know-this-is-test-data", help="Let weights be chosen on a test split; its scores prove nothing."
    ),
]
Precision = Annotated[str, typer.Option("--precision", help="fp32, bf16, or auto: bf16 where it is native.")]
Param = Annotated[list[str], typer.Option("--param", help="A parameter of the method, NAME=VALUE; repeat.")]
Backend = Annotated[
    str,
    typer.Option(
        "--backend",
        help="torch, or onnx or openvino, for which each model is converted first: pays on large corpora.",
    ),
]
Device = Annotated[str | None, typer.Option("--device", help="Torch device, such as cuda:0.")]
Devices = Annotated[
    list[str],
    typer.Option("--device", help="Torch device, such as cuda:0; repeat to encode on several at a time."),
]
MaxLength = Annotated[
    int | None, typer.Option("--max-seq-length", help="Cut texts after so many tokens.", min=1)
]
DataDir = Annotated[
    Path | None,
    typer.Option("--data-dir", help="Where local collections are looked for.", envvar="EMBEDMERGE_DATA"),
]


def named_sources(
    base: str,
    experts: list[str],
    target: str | None = None,
    pooling: str | None = None,
    normalise: bool | None = None,
) -> list[SourceSpec]:
    """Sources from options, base first; `NAME=PATH` gives a name, else the last part of the path is it.

    Raises:
        EmbedmergeError: No expert, or `--target` names none of them.
    """
    from embedmerge.sources import SourceSpec, short_name

    if not experts:
        raise EmbedmergeError("--expert: give at least one")
    specs = [SourceSpec("base", base, "base", pooling=pooling, normalise=normalise)]
    for given in experts:
        name, equals, path = given.partition("=")
        name, path = (name, path) if equals and "/" not in name else (short_name(given), given)
        specs.append(SourceSpec(name, path, "target" if name == target else "peer"))
    if target is not None and all(spec.name != target for spec in specs[1:]):
        names = ", ".join(spec.name for spec in specs[1:])
        raise EmbedmergeError(f"--target {target}: no expert has this name (there are: {names})")
    return specs


def encoding(
    precision: str, max_seq_length: int | None = None, backend: str = "torch", devices: Sequence[str] = ()
) -> Any:
    """Encoding settings from options.

    Raises:
        EmbedmergeError: No such precision, device or backend, or a library of it is missing.
    """
    from embedmerge.retrieval.settings import EncodingSettings

    if precision not in ("auto", "fp32", "bf16"):
        raise EmbedmergeError(f"--precision {precision}: must be auto, fp32 or bf16")
    return EncodingSettings(
        precision=precision,  # type: ignore[arg-type]
        max_seq_length=max_seq_length,
        device=devices[0] if len(devices) == 1 else None,
        devices=tuple(devices) if len(devices) > 1 else (),
        backend=backend,  # type: ignore[arg-type]
    )


def method_parameters(given: list[str]) -> dict[str, Any]:
    """NAME=VALUE pairs, values read as YAML reads them.

    Raises:
        EmbedmergeError: One is no such pair.
    """
    if not given:
        return {}
    import yaml

    pairs = [text.partition("=") for text in given]
    for name, equals, _ in pairs:
        if not name or not equals:
            raise EmbedmergeError(f"--param {name}: must be NAME=VALUE, such as density=0.2")
    return {name: yaml.safe_load(value) for name, _, value in pairs}
