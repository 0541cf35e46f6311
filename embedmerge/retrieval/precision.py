"""Which number formats this machine computes in natively."""

from __future__ import annotations

import platform


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
