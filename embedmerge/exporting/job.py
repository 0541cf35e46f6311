"""A model's files for another runtime, written, loaded again and compared before they are kept."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedmerge.atomic import new_file, new_folder, refuse_occupied
from embedmerge.checkpoint.hub import locate
from embedmerge.checkpoint.layout import open_checkpoint
from embedmerge.errors import EmbedmergeError
from embedmerge.manifest import NAME as MANIFEST
from embedmerge.manifest import read_manifest
from embedmerge.sources import encoder_model

if TYPE_CHECKING:
    from collections.abc import Callable

    from embedmerge.checkpoint.layout import Checkpoint
    from embedmerge.exporting.fidelity import Fidelity
    from embedmerge.exporting.runtimes import Target
    from embedmerge.retrieval.settings import EncoderModel

    Progress = Callable[[str, int, int], None]

STEPS = 3


@dataclass(frozen=True)
class Exported:
    """Files that another runtime loads.

    Attributes:
        folder: The model folder they are in.
        backend: What sentence-transformers calls the runtime.
        precision: `fp32` or `int8`.
        place: The file to load, below the folder.
        bytes: Size of the new files.
        fidelity: How far they move the model's vectors.
    """

    folder: Path
    backend: str
    precision: str
    place: str
    bytes: int
    fidelity: Fidelity

    @property
    def facts(self) -> dict[str, Any]:
        """As `--json` says it."""
        return {
            "model": str(self.folder),
            "backend": self.backend,
            "precision": self.precision,
            "file": self.place,
            "bytes": self.bytes,
            "lowest_cosine": self.fidelity.cosine,
            "mean_cosine": self.fidelity.mean_cosine,
            "noise": self.fidelity.noise,
        }


def export_model(
    given: str, target: Target, output: Path | None = None, progress: Progress | None = None
) -> Exported:
    """Write a model for another runtime, into its folder or into a new one that has the whole model.

    Args:
        given: Folder or hub id.
        target: Runtime and precision.
        output: Folder to create; the model's own folder where None.
        progress: Called with a label, steps done and steps in all.

    Returns:
        Where it is and how exact it is.

    Raises:
        EmbedmergeError: A library is missing, the model cannot be exported, the file is there already, or
            what was written gives other vectors; nothing is left then.
    """
    target.require_possible()
    checkpoint = open_checkpoint(locate(given))
    _require_exportable(checkpoint, target, output)
    model = encoder_model(checkpoint)
    with tempfile.TemporaryDirectory(prefix="embedmerge-") as scratch:
        written = Path(scratch) / "files"
        fidelity = _write(model, checkpoint.transformer.path, target, written, progress)
        size = sum(path.stat().st_size for path in written.rglob("*") if path.is_file())
        if output is None:
            _add(written, checkpoint.folder)
        else:
            with new_folder(output) as beside:
                shutil.copytree(model.folder, beside, dirs_exist_ok=True)
                _add(written, beside)
    folder = checkpoint.folder if output is None else output
    return Exported(folder, target.backend, target.precision, target.place, size, fidelity)


def _require_exportable(checkpoint: Checkpoint, target: Target, output: Path | None) -> None:
    if checkpoint.custom_code:
        msg = f"{checkpoint.name}: its class comes with the model, and that code is not run; no export"
        raise EmbedmergeError(msg)
    if output is not None:
        refuse_occupied(output)
        return
    if checkpoint.location.revision is not None:
        raise EmbedmergeError(
            f"{checkpoint.location.given}: from the hub's cache; name a folder to create with -o"
        )
    if (checkpoint.folder / target.place).exists():
        msg = f"{checkpoint.folder / target.place}: is there already; remove it, or name a folder with -o"
        raise EmbedmergeError(msg)


def _write(
    model: EncoderModel, transformer: str, target: Target, folder: Path, progress: Progress | None
) -> Fidelity:
    """Write below `folder` what belongs below the model's, and compare."""
    from embedmerge.exporting.fidelity import Fidelity, calibration_batches
    from embedmerge.exporting.served import ServedEncoder
    from embedmerge.retrieval.encoder import Encoder
    from embedmerge.retrieval.runtimes.graph import write_graph

    def step(label: str, done: int) -> None:
        if progress:
            progress(label, done, STEPS)

    path = folder / target.place
    graph = path if target.is_graph else folder.parent / "graph" / "model.onnx"
    for parent in (path.parent, graph.parent):
        parent.mkdir(parents=True, exist_ok=True)
    encoder = Encoder(model)
    step("exporting", 0)
    write_graph(*_transformer(model.folder / transformer), graph)
    step("exporting", 1)
    if not target.is_graph:
        target.write(graph, path, calibration_batches(encoder) if target.calibrates else ())
    step("exporting", 2)
    fidelity = Fidelity.of(ServedEncoder(model, target.load(path)), encoder)
    step("exporting", 3)
    fidelity.require(target.precision)
    return fidelity


def _transformer(folder: Path) -> tuple[Any, Any]:
    """The transformer and its tokenizer."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    model = AutoModel.from_pretrained(folder, dtype=torch.float32, local_files_only=True).eval()
    return model, AutoTokenizer.from_pretrained(folder, local_files_only=True)


def _add(written: Path, folder: Path) -> None:
    """Lay files into a model folder, each in one step, and into its manifest where it has one."""
    for path in sorted(written.rglob("*")):
        if path.is_file():
            with new_file(folder / path.relative_to(written)) as beside:
                shutil.copyfile(path, beside)
    if (folder / MANIFEST).is_file():
        read_manifest(folder).covering(folder).write(folder)
