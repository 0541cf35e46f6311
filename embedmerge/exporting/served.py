"""An exported file in place of the torch model: the same tokenizer, pooling and batches around it."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch

from embedmerge.exporting.graph import HIDDEN
from embedmerge.retrieval.encoder import Encoder, EncodingSettings
from embedmerge.retrieval.loading import Modules

if TYPE_CHECKING:
    from embedmerge.exporting.runtimes import Run
    from embedmerge.retrieval.encoder import EncoderModel


class ServedEncoder(Encoder):
    """An encoder whose hidden states another runtime computes; it keeps no cache.

    Args:
        model: The model that was exported.
        run: The exported file, loaded.
        settings: How to encode; precision and threads are the runtime's.
    """

    def __init__(self, model: EncoderModel, run: Run, settings: EncodingSettings | None = None) -> None:
        settings = replace(
            settings or EncodingSettings(), precision="fp32", threads=1, device="cpu", devices=()
        )
        super().__init__(model, settings)
        self._modules = _ServedModules(model, settings, run)


class _ServedModules(Modules):
    def __init__(self, model: EncoderModel, settings: EncodingSettings, run: Run) -> None:
        super().__init__(model, settings)
        self._run = run

    @cached_property
    def whole(self) -> Any:
        loaded = super().whole
        loaded[0].model = _Runtime(self._run, loaded[0].model.config)
        return loaded


class _Runtime(torch.nn.Module):  # type: ignore[misc]
    """What sentence-transformers' transformer module calls."""

    def __init__(self, run: Run, config: Any) -> None:
        super().__init__()
        self.run = run
        self.config = config

    def forward(self, **features: Any) -> dict[str, torch.Tensor]:
        arrays = {name: ids.numpy() for name, ids in features.items() if isinstance(ids, torch.Tensor)}
        return {HIDDEN: torch.from_numpy(self.run(arrays))}
