"""Our encoder under mteb's encoder protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mteb.models.abs_encoder import AbsEncoder, get_prompt_name
from mteb.models.model_meta import ModelMeta, ScoringFunction
from mteb.types import PromptType

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy as np
    from numpy.typing import NDArray

    from embedmerge.retrieval.encoder import Encoder


class MtebEncoder(AbsEncoder):  # type: ignore[misc]
    """An `Encoder` as mteb wants it.

    mteb gives every local model the same name and hands back another model's results under it, so
    the name and revision here are the digest of the weights.

    Args:
        encoder: The encoder.
    """

    def __init__(self, encoder: Encoder) -> None:
        model = encoder.model
        self._encoder = encoder
        # mteb wants prompts by task, by type or as query and document, and drops other names.
        prompts, _ = self.validate_task_to_prompt_name(model.prompts or None, raise_for_invalid_keys=False)
        self.model_prompts = prompts
        self.mteb_model_meta = ModelMeta.create_empty(
            {
                "name": f"embedmerge/{model.sha256[:16]}",
                "revision": model.sha256,
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
        """Embeddings of all texts that the data loader yields, under the prompt mteb would choose."""
        texts = [text for batch in inputs for text in batch["text"]]
        return self._encoder.embed(texts, self._prompt(task_metadata, prompt_type))

    def _prompt(self, task_metadata: Any, prompt_type: PromptType | None) -> str:
        name = get_prompt_name(self.model_prompts, task_metadata, prompt_type) if self.model_prompts else None
        if name is not None:
            return str(self.model_prompts[name])
        return self._encoder.model.prompt("query" if prompt_type is PromptType.query else "document")
