"""Our encoder under mteb's encoder protocol."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from mteb.models.abs_encoder import AbsEncoder, get_prompt_name
from mteb.models.model_meta import ModelMeta, ScoringFunction
from mteb.types import PromptType

from embedmerge.digest import content_digest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import numpy as np
    from numpy.typing import NDArray

    from embedmerge.checkpoint.layout import Checkpoint
    from embedmerge.retrieval.encoder import Encoder
    from embedmerge.retrieval.settings import Kind

IN_MEMORY = 50_000  # texts whose embeddings are held in memory


@dataclass(frozen=True)
class Identity:
    """What a model is called in mteb's result files.

    Attributes:
        name: Hub id, or `local/` and a name.
        revision: Commit on the hub, or the digest of its weights.
    """

    name: str
    revision: str

    @classmethod
    def of(cls, checkpoint: Checkpoint, encoder: Encoder) -> Identity:
        """The hub's name and commit, or the source's name and the digest of its weights."""
        location = checkpoint.location
        if location.revision is not None:
            return cls(location.given, location.revision)
        return cls(f"local/{re.sub(r'[^A-Za-z0-9._-]+', '-', checkpoint.name)}", encoder.model.sha256)


class MtebEncoder(AbsEncoder):  # type: ignore[misc]
    """An `Encoder` as mteb wants it.

    mteb gives every local model the same name and hands back another model's results under it, so
    a local model's revision here is the digest of its weights.

    Args:
        encoder: The encoder.
        identity: What it is called; after its weights where None.
        stated: Prompts in place of its own: `query`, `document` or both.
    """

    def __init__(
        self,
        encoder: Encoder,
        identity: Identity | None = None,
        stated: Mapping[str, str] | None = None,
    ) -> None:
        model = encoder.model
        named = identity or Identity(f"local/{model.sha256[:16]}", model.sha256)
        self._encoder = encoder
        self._stated = dict(stated or {})
        # mteb wants prompts by task, by type or as query and document, and drops other names.
        prompts, _ = self.validate_task_to_prompt_name(model.prompts or None, raise_for_invalid_keys=False)
        self.model_prompts = prompts
        self.mteb_model_meta = ModelMeta.create_empty(
            {
                "name": named.name,
                "revision": named.revision,
                "experiment_kwargs": _experiment(encoder, self._stated) or None,
                "similarity_fn_name": ScoringFunction(model.similarity),
            }
        )

    def encode(
        self,
        inputs: Iterable[dict[str, Any]],
        *,
        task_metadata: Any,
        prompt_type: PromptType | None = None,
        **_: Any,
    ) -> NDArray[np.float32]:
        """Embeddings of all texts that the data loader yields, under the prompt mteb would choose.

        Those of a large corpus lie in a file, from which the index takes them block by block.
        """
        texts = [text for batch in inputs for text in batch["text"]]
        prompt = self._prompt(task_metadata, prompt_type)
        if len(texts) <= IN_MEMORY:
            return self._encoder.embed(texts, prompt)
        with TemporaryDirectory(prefix="embedmerge-") as folder:  # the mapping outlives the file's name
            return self._encoder.embed(texts, prompt, out=Path(folder) / "vectors.npy")

    def _prompt(self, task_metadata: Any, prompt_type: PromptType | None) -> str:
        kind: Kind = "query" if prompt_type is PromptType.query else "document"
        if kind in self._stated:
            return self._stated[kind]
        name = get_prompt_name(self.model_prompts, task_metadata, prompt_type) if self.model_prompts else None
        if name is not None:
            return str(self.model_prompts[name])
        return self._encoder.model.prompt(kind)


def _experiment(encoder: Encoder, stated: Mapping[str, str]) -> dict[str, Any]:
    """Settings that are not the model's own, as mteb's experiments name them."""
    settings = {
        "precision": "bf16" if encoder.bf16 else None,
        "max_seq_length": encoder.settings.max_seq_length,
        "prompts": content_digest(stated)[:8] if stated else None,
        "backend": None if encoder.settings.backend == "torch" else encoder.settings.backend,
    }
    return {name: value for name, value in settings.items() if value is not None}
