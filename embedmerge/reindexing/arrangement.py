"""One model for the queries and one for the documents, under mteb's encoder protocol."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mteb.models.abs_encoder import AbsEncoder
from mteb.types import PromptType

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from embedmerge.evaluation.adapter import MtebEncoder
    from embedmerge.retrieval.vectors import Embeddings


@dataclass(frozen=True)
class Arrangement:
    """Who encodes what.

    Attributes:
        name: What it is called in tables.
        queries: Model of the queries.
        documents: Model of the documents in the index.
        similarity: How the index compares vectors.
        moved: What is done to the documents' vectors before they are indexed; None for nothing.
    """

    name: str
    queries: MtebEncoder
    documents: MtebEncoder
    similarity: str
    moved: Callable[[Embeddings], Embeddings] | None = None


class ArrangedEncoder(AbsEncoder):  # type: ignore[misc]
    """An arrangement as mteb wants it.

    Args:
        arrangement: Who encodes what.
    """

    def __init__(self, arrangement: Arrangement) -> None:
        self._arrangement = arrangement
        self.model_prompts = arrangement.queries.model_prompts
        self.mteb_model_meta = arrangement.queries.mteb_model_meta

    def encode(
        self,
        inputs: Iterable[dict[str, Any]],
        *,
        task_metadata: Any,
        prompt_type: PromptType | None = None,
        **others: Any,
    ) -> Embeddings:
        """Embeddings of all texts that the data loader yields, by the model whose part they are."""
        arranged = self._arrangement
        if prompt_type is PromptType.query:
            return arranged.queries.encode(
                inputs, task_metadata=task_metadata, prompt_type=prompt_type, **others
            )
        vectors = arranged.documents.encode(
            inputs, task_metadata=task_metadata, prompt_type=prompt_type, **others
        )
        return vectors if arranged.moved is None else arranged.moved(vectors)
