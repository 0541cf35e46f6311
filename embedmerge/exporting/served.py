"""An exported file in place of the torch model: the same tokenizer, pooling and batches around it."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from embedmerge.retrieval.encoder import Encoder
from embedmerge.retrieval.loading import Modules
from embedmerge.retrieval.runtimes.serving import serve
from embedmerge.retrieval.settings import EncodingSettings

if TYPE_CHECKING:
    from embedmerge.retrieval.runtimes.running import Run
    from embedmerge.retrieval.settings import EncoderModel


class ServedEncoder(Encoder):
    """An encoder whose hidden states an exported file gives; it keeps no cache.

    Args:
        model: The model that was exported.
        run: The exported file, loaded.
        settings: How to encode; precision and threads are the runtime's.
    """

    def __init__(self, model: EncoderModel, run: Run, settings: EncodingSettings | None = None) -> None:
        settings = replace(
            settings or EncodingSettings(),
            precision="fp32",
            threads=1,
            device="cpu",
            devices=(),
            backend="torch",
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
        serve(loaded, self._run)
        return loaded
