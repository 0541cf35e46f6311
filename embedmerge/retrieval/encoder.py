"""Text to vectors: the one place that encodes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

from embedmerge.atomic import new_file
from embedmerge.errors import EmbedmergeError
from embedmerge.retrieval.batching import rows_by_length, tokenised_batches
from embedmerge.retrieval.cache import EmbeddingCache, text_keys
from embedmerge.retrieval.counts import OF_PROCESS, Counts
from embedmerge.retrieval.loading import Modules
from embedmerge.retrieval.precision import PrecisionChoice, choose_precision
from embedmerge.retrieval.settings import EncoderModel, EncodingSettings
from embedmerge.retrieval.vectors import Embeddings, normalised, write_rows
from embedmerge.retrieval.well_formed import all_well_formed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from concurrent.futures import Future
    from pathlib import Path

    from embedmerge.retrieval.batching import Batch
    from embedmerge.retrieval.forward import DevicePool

# Texts that are looked up, encoded and kept together. Batches are formed within a window, so they do
# not depend on where an earlier run was interrupted, and that run has lost at most one window. Among so
# many texts sorted by length, padding is about one token in a hundred.
WINDOW = 512


@dataclass(frozen=True)
class _Window:
    """Some texts of a request by their keys: what the cache has of them, and what is missing tokenised."""

    keys: list[bytes]
    known: dict[bytes, Embeddings]
    missing: dict[bytes, str]
    batches: list[Batch]


class Encoder:
    """Encodes texts with one model, in length-sorted batches under a token budget, through a cache.

    The model is loaded when the first text is missing from the cache, not before.

    Args:
        model: The model.
        settings: How to encode.
        cache: Where vectors are kept; None to keep none.
        progress: Called with texts done and texts in all.
        prepare: Called once before the model's folder is opened, for a folder made on demand.
    """

    def __init__(
        self,
        model: EncoderModel,
        settings: EncodingSettings | None = None,
        cache: EmbeddingCache | None = None,
        progress: Callable[[int, int], None] | None = None,
        prepare: Callable[[], None] | None = None,
    ) -> None:
        self.model = model
        self.settings = settings or EncodingSettings()
        self.progress = progress
        self.counts = Counts()
        self._cache = cache
        self._modules = Modules(self.model, self.settings, prepare)
        self._pools: dict[str | None, DevicePool] = {}

    def embed(self, texts: Sequence[str], prompt: str = "", *, out: Path | None = None) -> Embeddings:
        """Embeddings as the model gives them, normalised where its module stack normalises.

        Args:
            texts: Any number of texts.
            prompt: Put before every text; `model.prompt(kind)` is the model's own.
            out: A `.npy` file to write window by window, so that memory does not grow with the texts.

        Returns:
            Array of shape (texts, dimension); of the file, mapped read-only, where there is one.

        Raises:
            EmbedmergeError: The model gives NaN or infinity.
        """
        windows = self._windows(texts, prompt, None)
        if self.model.normalises:
            windows = (normalised(window) for window in windows)
        if out is None:
            return _joined(windows)
        with new_file(out) as beside:
            write_rows(beside, windows, len(texts))
        mapped: Embeddings = np.load(out, mmap_mode="r")
        return mapped

    def pooled(self, texts: Sequence[str], prompt: str = "", pooling: str | None = None) -> Embeddings:
        """Embeddings after pooling and before L2 normalisation.

        Args:
            texts: Any number of texts.
            prompt: Put before every text.
            pooling: A pooling mode of sentence-transformers in place of the model's own stack.

        Returns:
            Array of shape (texts, dimension).

        Raises:
            EmbedmergeError: The model gives NaN or infinity.
        """
        return _joined(self._windows(texts, prompt, pooling))

    @cached_property
    def precision(self) -> PrecisionChoice:
        """Whether this model is encoded in bfloat16, and why.

        Of `auto` it is found once per model and machine, on texts that come with embedmerge, and kept
        in the cache.
        """
        return choose_precision(self.settings, self.model, self._cache, self._probed)

    @property
    def bf16(self) -> bool:
        """Whether this model is encoded in bfloat16."""
        return self.precision.bf16

    @property
    def loaded(self) -> bool:
        """Whether the model is in memory."""
        return self._modules.read

    def token_ids(self, texts: Sequence[str]) -> tuple[list[list[int]], int | None]:
        """Ids of all of each text's tokens, and the id that stands for what the tokenizer does not know."""
        tokenizer = self._modules.whole.tokenizer
        encoded = tokenizer(all_well_formed(texts), add_special_tokens=False, truncation=False, verbose=False)
        return [list(ids) for ids in encoded["input_ids"]], tokenizer.unk_token_id

    def batches(self, texts: Sequence[str]) -> Iterator[list[int]]:
        """Rows of each batch, longest texts first, padded size within the token budget.

        Args:
            texts: With their prompts.
        """
        return rows_by_length(self._modules.lengths(texts), self._modules.budget)

    def module_stack(self) -> Any:
        """The loaded modules before L2 normalisation, for who wants more of them than vectors."""
        return self._modules.stack()

    def close(self) -> None:
        """End the processes of `settings.devices`; they end with the encoder otherwise."""
        while self._pools:
            self._pools.popitem()[1].close()

    def _windows(self, texts: Sequence[str], prompt: str, pooling: str | None) -> Iterator[Embeddings]:
        """Vectors of one window after the other; the next is tokenised while one is computed."""
        if not len(texts):
            return
        content = self._content(prompt, pooling)
        with ThreadPoolExecutor(1) as ahead:

            def prepared(start: int, under_way: Mapping[bytes, Any]) -> Future[_Window]:
                some = list(texts[start : start + WINDOW])
                return ahead.submit(self._prepared, some, content, prompt, pooling, under_way)

            before: dict[bytes, Embeddings] = {}
            coming = prepared(0, before)
            for start in range(0, len(texts), WINDOW):
                window = coming.result()
                if start + WINDOW < len(texts):
                    coming = prepared(start + WINDOW, dict.fromkeys(window.missing))
                new = self._completed(window, pooling)
                known = {**before, **window.known, **new}
                yield np.stack([known[key] for key in window.keys])
                before = new
                if self.progress:
                    self.progress(start + len(window.keys), len(texts))

    def _prepared(
        self,
        texts: list[str],
        content: dict[str, Any],
        prompt: str,
        pooling: str | None,
        under_way: Mapping[bytes, Any],
    ) -> _Window:
        keys = text_keys(content, texts)
        by_key = dict(zip(keys, texts, strict=True))
        known = self._cache.load(self.model, list(by_key)) if self._cache else {}
        missing = {key: text for key, text in by_key.items() if key not in known and key not in under_way}
        batches = self._batches(list(missing.values()), prompt, pooling) if missing else []
        return _Window(keys, known, missing, batches)

    def _completed(self, window: _Window, pooling: str | None) -> dict[bytes, Embeddings]:
        """Compute what a window lacks, and keep it."""
        for counts in (self.counts, OF_PROCESS):
            counts.add(len(window.missing), len(window.keys) - len(window.missing))
        if not window.missing:
            return {}
        vectors = self._computed(window.batches, pooling, self.bf16)
        self._require_finite(vectors, list(window.missing.values()))
        new = dict(zip(window.missing, vectors, strict=True))
        if self._cache:
            self._cache.store(self.model, new)
        return new

    def _content(self, prompt: str, pooling: str | None) -> dict[str, Any]:
        """What a text's vector depends on besides the weights; batches and threads do not count."""
        return {
            "prompt": prompt,
            "pooling": pooling,
            "bf16": self.bf16,
            "max_seq_length": self.settings.max_seq_length,
            "libraries": [version(name) for name in ("torch", "transformers", "sentence-transformers")],
            **self.settings.runtime,
        }

    def _computed(self, batches: Sequence[Batch], pooling: str | None, bf16: bool) -> Embeddings:
        """Vectors in the order of the batches' rows."""
        from embedmerge.retrieval.forward import encode_batches, thread_count

        stack = self._modules.stack(pooling)
        if self.settings.devices:
            found = self._pool(pooling).encode_batches(batches, bf16=bf16)
        else:
            threads = thread_count(self.settings.threads)
            found = encode_batches(stack, batches, bf16=bf16, threads=threads)
        together = np.concatenate(found)
        vectors = np.empty_like(together)
        vectors[[row for batch in batches for row in batch.rows]] = together
        return vectors

    def _probed(self, texts: Sequence[str], prompt: str, bf16: bool) -> Embeddings:
        return self._computed(self._batches(texts, prompt, None), None, bf16)

    def _batches(self, texts: Sequence[str], prompt: str, pooling: str | None) -> list[Batch]:
        return list(tokenised_batches(self._modules.stack(pooling), texts, prompt, self._modules.budget))

    def _pool(self, pooling: str | None) -> DevicePool:
        from embedmerge.retrieval.forward import DevicePool

        if pooling not in self._pools:
            self._pools[pooling] = DevicePool(self._modules.stack(pooling), self.settings.devices)
        return self._pools[pooling]

    def _require_finite(self, vectors: Embeddings, texts: Sequence[str]) -> None:
        broken = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
        if broken.size:
            text = texts[int(broken[0])][:60]
            msg = f"{self.model.name}: gives NaN or infinity for {text!r}; its weights are broken"
            raise EmbedmergeError(msg)


def _joined(windows: Iterator[Embeddings]) -> Embeddings:
    blocks = list(windows)
    return np.concatenate(blocks) if blocks else np.empty((0, 0), dtype=np.float32)
