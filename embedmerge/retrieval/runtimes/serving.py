"""Another runtime in the place of a loaded model's transformer: tokenizer, pooling and batches stay."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from embedmerge.retrieval.runtimes.graph import HIDDEN, write_graph
from embedmerge.retrieval.runtimes.running import onnx_run, openvino_run

if TYPE_CHECKING:
    from embedmerge.retrieval.runtimes.running import Run


def serve(loaded: Any, run: Run, run_bf16: Run | None = None) -> None:
    """Put a runtime in the place of the transformer, whose weights are let go.

    Args:
        loaded: A sentence-transformers model.
        run: Computes hidden states in float32.
        run_bf16: Likewise under bfloat16 autocast; as `run` where None.
    """
    loaded[0].model = _Runtime(run, run_bf16 or run, loaded[0].model.config)


def convert(loaded: Any, backend: str, threads: int) -> None:
    """Convert the transformer of a loaded model for another runtime, and put that in its place.

    Args:
        loaded: A sentence-transformers model on the CPU.
        backend: `onnx` or `openvino`.
        threads: Threads that will ask for hidden states at a time.
    """
    with tempfile.TemporaryDirectory(prefix="embedmerge-") as scratch:
        path = Path(scratch) / "model.onnx"
        write_graph(loaded[0].model.float().eval(), loaded.tokenizer, path)
        if backend == "onnx":
            serve(loaded, onnx_run(path, threads=1))
        else:
            serve(loaded, *_openvino_runs(path, threads))


def _openvino_runs(path: Path, threads: int) -> tuple[Run, Run]:
    """In float32 and in bfloat16, compiled when first needed; every caller has a core of its own."""
    import openvino

    model = openvino.convert_model(path)

    @cache
    def compiled(precision: str) -> Run:
        return openvino_run(model, threads, {"INFERENCE_PRECISION_HINT": precision, "NUM_STREAMS": threads})

    return (lambda features: compiled("f32")(features)), (lambda features: compiled("bf16")(features))


class _Runtime(torch.nn.Module):  # type: ignore[misc]
    """What sentence-transformers' transformer module calls."""

    def __init__(self, run: Run, run_bf16: Run, config: Any) -> None:
        super().__init__()
        self.run = run
        self.run_bf16 = run_bf16
        self.config = config

    def forward(self, **features: Any) -> dict[str, torch.Tensor]:
        arrays = {name: ids.numpy() for name, ids in features.items() if isinstance(ids, torch.Tensor)}
        run = self.run_bf16 if torch.is_autocast_enabled("cpu") else self.run
        return {HIDDEN: torch.from_numpy(run(arrays))}
