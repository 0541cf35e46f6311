"""`embedmerge export`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from embedmerge.cli.options import Json

if TYPE_CHECKING:
    from embedmerge.exporting.job import Exported


def command(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Folder or hub id of a model.")],
    backend: Annotated[str, typer.Option("--backend", help="onnx or openvino.")],
    precision: Annotated[str, typer.Option("--precision", help="fp32 or int8.")] = "fp32",
    cpu: Annotated[
        str | None,
        typer.Option("--cpu", help="What ONNX in int8 is for: avx512_vnni, avx2 (no VNNI) or arm64."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Folder to create; else into the model's own.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write a model for ONNX Runtime or OpenVINO, where sentence-transformers' backends look for it.

    What was written is loaded again and compared with the model; a file that is off is not kept.
    """
    from embedmerge.api import export
    from embedmerge.cli.console import Screen, print_json

    with Screen(quiet=as_json) as screen:
        exported = export(
            model, backend, precision=precision, cpu=cpu, output=output, progress=screen.progress
        )
    if as_json:
        print_json(exported.facts)
    else:
        _print(exported)


def _print(exported: Exported) -> None:
    from rich.console import Console
    from rich.filesize import decimal
    from rich.markup import escape

    console = Console(soft_wrap=True)
    fidelity = exported.fidelity
    console.print(
        f"{escape(str(exported.folder / exported.place))}: {decimal(exported.bytes)}, cosine to the model's "
        f"vectors {fidelity.mean_cosine:.5f}, lowest {fidelity.cosine:.5f}"
    )
    file_name = f'{{"file_name": "{exported.place}"}}'
    call = f'SentenceTransformer("{exported.folder}", backend="{exported.backend}", model_kwargs={file_name})'
    console.print(escape(call), highlight=False)
