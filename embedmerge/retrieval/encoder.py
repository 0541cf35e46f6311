"""Text to vectors: the one place that encodes."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from embedmerge.errors import EmbedmergeError
from embedmerge.retrieval.cache import EmbeddingCache, block_key
from embedmerge.retrieval.precision import native_bf16

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    Embeddings = NDArray[np.float32]

Kind = Literal["query", "document"]
Precision = Literal["auto", "fp32", "bf16"]

# Texts encoded and cached together. Batches are formed within a block, so what a block holds does
# not depend on what happened to be cached, and an interrupted run loses at most one block.
BLOCK = 512


@dataclass(frozen=True)
class EncodingSettings:
    """How texts are encoded.

    Attributes:
        precision: `fp32`; `bf16` for autocast; `auto` for bf16 where the processor has it natively.
        max_seq_length: Tokens after which text is cut; None for the model's own.
        tokens_per_batch: Padded tokens in a batch at most.
        device: Torch device; None for sentence-transformers' choice.
        trust_remote_code: Whether code that comes with a model may run.
    """

    precision: Precision = "fp32"
    max_seq_length: int | None = None
    tokens_per_batch: int = 4096
    device: str | None = None
    trust_remote_code: bool = False

    @cached_property
    def bf16(self) -> bool:
        """Whether encoding runs under bfloat16 autocast."""
        return self.precision == "bf16" or (self.precision == "auto" and native_bf16())


@dataclass(frozen=True)
class EncoderModel:
    """What encoding needs to know of a model without loading it.

    Attributes:
        name: Name for messages.
        folder: sentence-transformers folder.
        sha256: Digest over weights and module files; the model's identity in every cache.
        prompts: Prompts by name.
        default_prompt: Name of the prompt used where no other fits, or None.
        normalises: Whether the module stack ends in L2 normalisation.
        similarity: `cosine`, `dot`, `euclidean` or `manhattan`.
        max_tokens: Number of positions its weights have; None where there is no such limit.
    """

    name: str
    folder: Path
    sha256: str
    prompts: dict[str, str] = field(default_factory=dict)
    default_prompt: str | None = None
    normalises: bool = True
    similarity: str = "cosine"
    max_tokens: int | None = None

    def prompt(self, kind: Kind) -> str:
        """The prompt that sentence-transformers' `encode_query` or `encode_document` puts before a text."""
        names = ("query",) if kind == "query" else ("document", "passage", "corpus")
        named = next((name for name in names if name in self.prompts), self.default_prompt)
        return self.prompts.get(named, "") if named else ""


class Encoder:
    """Encodes texts with one model, in length-sorted batches under a token budget, through a cache.

    The model is loaded when the first block is missing from the cache, not before.

    Args:
        model: The model.
        settings: How to encode.
        cache: Where blocks are kept; None to keep none.
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
        self._cache = cache
        self._prepare = prepare
        self._stacks: dict[str | None, Any] = {}

    def embed(self, texts: Sequence[str], prompt: str = "") -> Embeddings:
        """Embeddings as the model gives them, normalised where its module stack normalises.

        Args:
            texts: Any number of texts.
            prompt: Put before every text; `model.prompt(kind)` is the model's own.

        Returns:
            Array of shape (texts, dimension).
        """
        pooled = self.pooled(texts, prompt)
        return normalised(pooled) if self.model.normalises else pooled

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
        blocks = []
        for start in range(0, len(texts), BLOCK):
            block = texts[start : start + BLOCK]
            blocks.append(self._block(block, prompt, pooling))
            if self.progress:
                self.progress(start + len(block), len(texts))
        return np.concatenate(blocks) if blocks else np.empty((0, 0), dtype=np.float32)

    def token_ids(self, texts: Sequence[str]) -> tuple[list[list[int]], int | None]:
        """Ids of all of each text's tokens, and the id that stands for what the tokenizer does not know."""
        tokenizer = self._loaded.tokenizer
        encoded = tokenizer(list(texts), add_special_tokens=False, truncation=False, verbose=False)
        return [list(ids) for ids in encoded["input_ids"]], tokenizer.unk_token_id

    def module_stack(self) -> Any:
        """The loaded modules before L2 normalisation, for who wants more of them than vectors."""
        return self._stack(None)

    def _block(self, texts: Sequence[str], prompt: str, pooling: str | None) -> Embeddings:
        key = block_key(self._content(prompt, pooling), texts)
        block = self._cache.load(key, len(texts)) if self._cache else None
        if block is None:
            block = self._encode(texts, prompt, pooling)
            if self._cache:
                self._cache.store(key, block)
        return block

    def _content(self, prompt: str, pooling: str | None) -> dict[str, Any]:
        return {
            "model": self.model.sha256,
            "prompt": prompt,
            "pooling": pooling,
            "bf16": self.settings.bf16,
            "max_seq_length": self.settings.max_seq_length,
            "tokens_per_batch": self.settings.tokens_per_batch,
            "libraries": [version(name) for name in ("torch", "transformers", "sentence-transformers")],
        }

    def _encode(self, texts: Sequence[str], prompt: str, pooling: str | None) -> Embeddings:
        import torch

        stack = self._stack(pooling)
        rows: list[Embeddings | None] = [None] * len(texts)
        with torch.autocast(stack.device.type, dtype=torch.bfloat16, enabled=self.settings.bf16):
            for batch in self.batches([prompt + text for text in texts]):
                vectors = stack.encode(
                    [texts[row] for row in batch],
                    prompt=prompt or None,
                    batch_size=len(batch),
                    show_progress_bar=False,
                    convert_to_numpy=True,
                )
                for row, vector in zip(batch, vectors, strict=True):
                    rows[row] = vector
        block = np.asarray(rows, dtype=np.float32)
        self._require_finite(block, texts)
        return block

    def batches(self, texts: Sequence[str]) -> Iterator[list[int]]:
        """Rows of each batch, longest texts first, padded size within the token budget.

        Args:
            texts: With their prompts.
        """
        lengths = self._token_counts(texts)
        batch: list[int] = []
        for row in sorted(range(len(texts)), key=lambda row: (-lengths[row], row)):
            if batch and lengths[batch[0]] * (len(batch) + 1) > self.settings.tokens_per_batch:
                yield batch
                batch = []
            batch.append(row)
        if batch:
            yield batch

    def _token_counts(self, texts: Sequence[str]) -> list[int]:
        encoded = self._loaded.tokenizer(list(texts), truncation=True, max_length=self._limit, padding=False)
        return [len(ids) for ids in encoded["input_ids"]]

    @property
    def _limit(self) -> int:
        return int(self._loaded.max_seq_length or 512)

    @cached_property
    def _loaded(self) -> Any:
        from sentence_transformers import SentenceTransformer

        if self._prepare:
            self._prepare()
        loaded = SentenceTransformer(
            str(self.model.folder),
            device=self.settings.device,
            trust_remote_code=self.settings.trust_remote_code,
            local_files_only=True,
        )
        loaded.eval()
        if self.settings.max_seq_length:
            loaded.max_seq_length = min(
                self.settings.max_seq_length, self.model.max_tokens or self.settings.max_seq_length
            )
        return loaded

    def _stack(self, pooling: str | None) -> Any:
        """The model without its closing normalisation, or its transformer under another pooling."""
        if pooling not in self._stacks:
            self._stacks[pooling] = self._built_stack(pooling)
        return self._stacks[pooling]

    def _built_stack(self, pooling: str | None) -> Any:
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.models import Normalize, Pooling

        modules = list(self._loaded)
        if pooling is not None:
            transformer = modules[0]
            modules = [transformer, Pooling(transformer.get_embedding_dimension(), pooling_mode=pooling)]
        kept = [module for module in modules if not isinstance(module, Normalize)]
        return SentenceTransformer(modules=kept, device=str(self._loaded.device))

    def _require_finite(self, block: Embeddings, texts: Sequence[str]) -> None:
        broken = np.flatnonzero(~np.isfinite(block).all(axis=1))
        if broken.size:
            text = texts[int(broken[0])][:60]
            msg = f"{self.model.name}: gives NaN or infinity for {text!r}; its weights are broken"
            raise EmbedmergeError(msg)


def normalised(embeddings: Embeddings) -> Embeddings:
    """Rows scaled to length one; a zero row stays zero.

    >>> normalised(np.array([[3.0, 4.0]], dtype=np.float32))
    array([[0.6, 0.8]], dtype=float32)
    """
    lengths = np.linalg.norm(embeddings, axis=-1, keepdims=True)
    scaled: Embeddings = embeddings / np.maximum(lengths, 1e-12)
    return scaled
