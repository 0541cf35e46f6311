"""Files for runtimes other than torch: where sentence-transformers looks for them, and writing them."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from typing import TYPE_CHECKING

from embedmerge.errors import EmbedmergeError, nearest
from embedmerge.retrieval.runtimes.running import BACKENDS, onnx_run, openvino_run, require_installed

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from embedmerge.retrieval.runtimes.running import Features, Run

PRECISIONS = ("fp32", "int8")
# Of ONNX in int8: whether weights are signed. On AVX2 the product of signed weights and unsigned activations
# saturates at 16 bits, so both are unsigned there.
PROCESSORS = {"avx512_vnni": True, "avx2": False, "arm64": True}


@dataclass(frozen=True)
class Target:
    """What to write.

    Attributes:
        backend: `onnx` or `openvino`.
        precision: `fp32`, or `int8` for weights and the products of linear layers.
        processor: What an ONNX file in int8 is for: `avx512_vnni`, `avx2` or `arm64`.
    """

    backend: str
    precision: str = "fp32"
    processor: str | None = None

    def require_possible(self) -> None:
        """Check names and libraries.

        Raises:
            EmbedmergeError: There is no such thing, or a library is missing.
        """
        for option, value, known in (
            ("backend", self.backend, tuple(BACKENDS)),
            ("precision", self.precision, PRECISIONS),
            ("cpu", self.processor or self.cpu, tuple(PROCESSORS)),
        ):
            if value not in known:
                raise EmbedmergeError(f"--{option} {value}: there is none; {nearest(value, known)}")
        if self.processor and (self.backend, self.precision) != ("onnx", "int8"):
            raise EmbedmergeError("--cpu: says nothing but with --backend onnx --precision int8")
        require_installed(self.backend, *(("nncf",) if self.calibrates else ()))

    @property
    def cpu(self) -> str:
        """The processor written for; of this machine's family where none is stated."""
        return self.processor or ("arm64" if platform.machine() in ("arm64", "aarch64") else "avx512_vnni")

    @property
    def is_graph(self) -> bool:
        """Whether the ONNX graph itself is what is wanted."""
        return (self.backend, self.precision) == ("onnx", "fp32")

    @property
    def place(self) -> str:
        """The file below the model folder, under the name that sentence-transformers gives it."""
        if self.backend == "openvino":
            suffix = "" if self.precision == "fp32" else "_qint8_quantized"
            return f"openvino/openvino_model{suffix}.xml"
        sign = "qint8" if PROCESSORS[self.cpu] else "quint8"
        return f"onnx/model{'' if self.precision == 'fp32' else f'_{sign}_{self.cpu}'}.onnx"

    @property
    def calibrates(self) -> bool:
        """Whether writing it needs samples."""
        return (self.backend, self.precision) == ("openvino", "int8")

    def write(self, graph: Path, path: Path, samples: Sequence[Features]) -> None:
        """Write the runtime's own file from the ONNX graph, which is one already for `onnx` in float32.

        Args:
            graph: The graph in float32.
            path: File to write, and what belongs beside it.
            samples: Inputs to calibrate activations on, where that is needed.
        """
        if self.backend == "openvino":
            _write_openvino(graph, path, samples if self.calibrates else None)
        else:
            _quantise_onnx(graph, path, signed=PROCESSORS[self.cpu])

    def load(self, path: Path, threads: int | None = None, **settings: str) -> Run:
        """What computes hidden states from features with the written file.

        Args:
            path: The file.
            threads: Of the runtime; torch's number where None.
            settings: Of OpenVINO, over `INFERENCE_PRECISION_HINT="f32"`.

        Returns:
            A function from arrays of shape (batch, length) to one of shape (batch, length, width).
        """
        from embedmerge.retrieval.forward import thread_count

        number = thread_count(threads)
        return onnx_run(path, number) if self.backend == "onnx" else openvino_run(path, number, settings)


def _quantise_onnx(graph: Path, path: Path, *, signed: bool) -> None:
    """Weights per channel once and for all, activations per tensor while running."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    kind = QuantType.QInt8 if signed else QuantType.QUInt8
    quantize_dynamic(graph, path, weight_type=kind, per_channel=True, extra_options={"WeightSymmetric": True})


def _write_openvino(graph: Path, path: Path, samples: Sequence[Features] | None) -> None:
    """Post-training quantisation of a transformer (nncf) where there are samples, else float32."""
    import openvino

    model = openvino.convert_model(graph)
    if samples is not None:
        import nncf

        model = nncf.quantize(
            model,
            nncf.Dataset([dict(each) for each in samples]),
            model_type=nncf.ModelType.TRANSFORMER,
            subset_size=len(samples),
        )
    openvino.save_model(model, path, compress_to_fp16=False)
