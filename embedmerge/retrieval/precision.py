"""Which number formats this machine computes in natively, and which of them a model is encoded in."""

from __future__ import annotations

import json
import platform
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING

from embedmerge.retrieval.probe import Agreement, probe_texts
from embedmerge.retrieval.vectors import normalised

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from embedmerge.retrieval.cache import EmbeddingCache
    from embedmerge.retrieval.settings import EncoderModel, EncodingSettings
    from embedmerge.retrieval.vectors import Embeddings


@dataclass(frozen=True)
class PrecisionChoice:
    """What a model is encoded in.

    Attributes:
        bf16: Whether under bfloat16 autocast.
        reason: Why, in words.

    >>> str(PrecisionChoice(False, "asked for"))
    'fp32: asked for'
    """

    bf16: bool
    reason: str

    def __str__(self) -> str:
        return f"{'bf16' if self.bf16 else 'fp32'}: {self.reason}"


def choose_precision(
    settings: EncodingSettings,
    model: EncoderModel,
    cache: EmbeddingCache | None,
    encode: Callable[[Sequence[str], str, bool], Embeddings],
) -> PrecisionChoice:
    """What the settings ask for; of `auto`, bfloat16 where it is native and the model bears it.

    Args:
        settings: How to encode.
        model: The model.
        cache: Where the check's finding is kept.
        encode: Texts, prompt and whether in bfloat16, to vectors; called where the finding is not known.
    """
    if settings.precision != "auto":
        return PrecisionChoice(settings.bf16, "asked for")
    if not settings.bf16:
        lacking = (
            "ONNX Runtime has no bfloat16" if settings.backend == "onnx" else "bfloat16 is not native here"
        )
        return PrecisionChoice(False, lacking)
    name = " ".join(["bf16", *settings.runtime, _machine()])
    noted = cache.fact(model.probed_as, name) if cache else None
    agreement = Agreement(noted["noise"]) if noted else _agreement(model, encode)
    if cache and not noted:
        cache.note(model, name, agreement.as_json())
    return PrecisionChoice(agreement.holds, str(agreement))


def _agreement(model: EncoderModel, encode: Callable[[Sequence[str], str, bool], Embeddings]) -> Agreement:
    import numpy as np

    queries, passages = probe_texts()
    found = []
    for bf16 in (False, True):
        vectors = np.concatenate(
            [
                encode(queries, model.prompt("query"), bf16),
                encode(passages, model.prompt("document"), bf16),
            ]
        )
        found.append(normalised(vectors) if model.cosine else vectors)
    return Agreement.of(*found)


def _machine() -> str:
    """What besides the model decides the finding."""
    import torch

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine()
    capability = torch.backends.cpu.get_cpu_capability()
    libraries = [version(name) for name in ("torch", "transformers", "sentence-transformers")]
    return json.dumps([device, capability, *libraries])


def native_bf16(device: str | None = None) -> bool:
    """Whether bfloat16 runs on hardware here; emulated, it is slower than float32.

    Args:
        device: "cpu" or "cuda" (an index may follow); by default the GPU where there is one.

    Returns:
        True where autocast to bfloat16 pays.
    """
    import torch

    kind = (device or ("cuda" if torch.cuda.is_available() else "cpu")).partition(":")[0]
    if kind == "cuda":
        return torch.cuda.is_available() and bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return kind == "cpu" and _native_on_cpu()


def _native_on_cpu() -> bool:
    import torch

    if not torch.backends.mkldnn.is_available() or not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return False
    if platform.machine().lower() not in {"x86_64", "amd64"}:
        return True
    # On x86 oneDNN accepts bfloat16 from plain AVX-512 on and emulates it there; only these compute in it.
    probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(bool(getattr(torch.cpu, probe, bool)()) for probe in probes)
