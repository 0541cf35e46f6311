"""A model's modules in memory, read when they are first asked for."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from embedmerge.retrieval.batching import token_budget
from embedmerge.retrieval.well_formed import all_well_formed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from embedmerge.retrieval.settings import EncoderModel, EncodingSettings


class Modules:
    """A sentence-transformers model and the stacks that are made of its modules.

    Args:
        model: The model.
        settings: Device and length.
        prepare: Called once before the model's folder is opened, for a folder made on demand.
    """

    def __init__(
        self, model: EncoderModel, settings: EncodingSettings, prepare: Callable[[], None] | None = None
    ) -> None:
        self._model = model
        self._settings = settings
        self._prepare = prepare
        self._stacks: dict[str | None, Any] = {}

    @cached_property
    def whole(self) -> Any:
        """The model as sentence-transformers loads it."""
        from sentence_transformers import SentenceTransformer

        if self._prepare:
            self._prepare()
        settings = self._settings
        loaded = SentenceTransformer(
            str(self._model.folder),
            device="cpu" if settings.devices or settings.backend != "torch" else settings.device,
            trust_remote_code=settings.trust_remote_code,
            local_files_only=True,
        )
        loaded.eval()
        if settings.backend != "torch":
            from embedmerge.retrieval.forward import thread_count
            from embedmerge.retrieval.runtimes.serving import convert

            convert(loaded, settings.backend, thread_count(settings.threads))
        if settings.max_seq_length:
            loaded.max_seq_length = min(
                settings.max_seq_length, self._model.max_tokens or settings.max_seq_length
            )
        return loaded

    @property
    def read(self) -> bool:
        """Whether the model is in memory."""
        return "whole" in vars(self)

    @property
    def budget(self) -> int:
        """Padded tokens in a batch at most."""
        devices = self._settings.devices
        device = devices[0] if devices else self.whole.device.type
        return token_budget(self._settings.tokens_per_batch, device.partition(":")[0])

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, special ones with them, after cutting."""
        limit = int(self.whole.max_seq_length or 512)
        encoded = self.whole.tokenizer(
            all_well_formed(texts), truncation=True, max_length=limit, padding=False
        )
        return [len(ids) for ids in encoded["input_ids"]]

    def stack(self, pooling: str | None = None) -> Any:
        """The model without its closing normalisation, or its transformer under another pooling."""
        if pooling not in self._stacks:
            self._stacks[pooling] = self._built(pooling)
        return self._stacks[pooling]

    def _built(self, pooling: str | None) -> Any:
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.models import Normalize, Pooling

        modules = list(self.whole)
        if pooling is not None:
            transformer = modules[0]
            modules = [transformer, Pooling(transformer.get_embedding_dimension(), pooling_mode=pooling)]
        kept = [module for module in modules if not isinstance(module, Normalize)]
        return SentenceTransformer(modules=kept, device=str(self.whole.device))
