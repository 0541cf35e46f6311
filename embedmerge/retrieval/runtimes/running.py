"""Loading what ONNX Runtime and OpenVINO read, and running it."""

from __future__ import annotations

from importlib.util import find_spec
from threading import local
from typing import TYPE_CHECKING, Any

from embedmerge.errors import EmbedmergeError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    Features = Mapping[str, NDArray[np.int64]]
    Run = Callable[[Features], NDArray[np.float32]]

# What each needs; the runtime itself is the last.
BACKENDS: dict[str, tuple[str, ...]] = {
    "onnx": ("onnx", "onnxscript", "onnxruntime"),
    "openvino": ("onnx", "onnxscript", "openvino"),
}


def require_installed(backend: str, *further: str) -> None:
    """Refuse a runtime some library of which is missing.

    Raises:
        EmbedmergeError: It says which, and how to install it.
    """
    missing = [name for name in (*BACKENDS[backend], *further) if find_spec(name) is None]
    if missing:
        msg = f"backend {backend}: {missing[0]} is not installed; pip install 'embedmerge[{backend}]'"
        raise EmbedmergeError(msg)


def onnx_run(path: Path, threads: int) -> Run:
    """What computes hidden states with a file for ONNX Runtime; several threads may call it.

    Args:
        path: The file.
        threads: For each call.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # Threads that wait for work by spinning take a core from whatever else runs here.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()]

    def run(features: Features) -> NDArray[np.float32]:
        hidden: NDArray[np.float32] = session.run(None, {name: features[name] for name in names})[0]
        return hidden

    return run


def openvino_run(model: Any, threads: int, settings: Mapping[str, Any]) -> Run:
    """What computes hidden states with OpenVINO; several threads may call it.

    Args:
        model: A path to its file or to ONNX, or a model that OpenVINO has read.
        threads: In all.
        settings: Of the compiler, over `INFERENCE_PRECISION_HINT="f32"`.
    """
    import openvino

    hints: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads, **settings}
    compiled = openvino.Core().compile_model(model, "CPU", hints)
    names = [each.any_name for each in compiled.inputs]
    requests = local()

    def run(features: Features) -> NDArray[np.float32]:
        if not hasattr(requests, "own"):
            requests.own = compiled.create_infer_request()
        found = requests.own.infer({name: features[name] for name in names})
        hidden: NDArray[np.float32] = found[0]
        return hidden

    return run
