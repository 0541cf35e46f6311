"""A source's loaded modules, and what its tensors are called in a merge."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from embedmerge.checkpoint.layout import Checkpoint
    from embedmerge.retrieval.encoder import Encoder
    from embedmerge.statistics.text import Text


class Stack:
    """The modules of a source before the closing normalisation, in float32, with gradients.

    Args:
        encoder: The source's encoder, used for nothing else: its model is turned to float32.
        donor: The base; the gate has seen that both have the same modules. Its folders name the tensors
            of the heads.
    """

    def __init__(self, encoder: Encoder, donor: Checkpoint) -> None:
        self.name = encoder.model.name
        self.encoder = encoder
        self.model = encoder.module_stack().eval().float().requires_grad_(True)
        places = [module for module in donor.modules if module.kind != "Normalize"]
        self._roots = {
            "" if module.kind == "Transformer" else f"{module.path}/": loaded
            for module, loaded in zip(places, self.model, strict=True)
        }

    @cached_property
    def parameters(self) -> dict[str, Any]:
        """Every parameter by the name its tensor has in a merge."""
        return {
            prefix + name: parameter
            for prefix, root in self._named()
            for name, parameter in root.named_parameters()
        }

    @cached_property
    def linears(self) -> dict[str, Any]:
        """Every `torch.nn.Linear` by the name of its weight, in the order of the model."""
        import torch

        return {
            f"{prefix}{name}.weight": module
            for prefix, root in self._named()
            for name, module in root.named_modules()
            if isinstance(module, torch.nn.Linear)
        }

    def features(self, texts: Sequence[Text]) -> dict[str, Any]:
        """Token ids and attention mask of texts of one kind, with the model's prompt for it."""
        from sentence_transformers.util import batch_to_device

        prompt = self.encoder.model.prompt(texts[0].kind)
        inputs = self.model.preprocess([text.content for text in texts], prompt=prompt or None)
        return dict(batch_to_device(inputs, self.model.device))

    def vectors(self, features: dict[str, Any]) -> Any:
        """Embeddings of length one as a tensor of shape (texts, dimension), ready for backward."""
        import torch

        pooled = self.model(features)["sentence_embedding"]
        return torch.nn.functional.normalize(pooled, dim=-1)

    def batches(self, texts: Sequence[Text], size: int) -> Iterator[list[Text]]:
        """Texts of one kind and of much the same length together."""
        for kind in ("query", "document"):
            alike = sorted((text for text in texts if text.kind == kind), key=lambda text: len(text.content))
            yield from (alike[start : start + size] for start in range(0, len(alike), size))

    def _named(self) -> Iterator[tuple[str, Any]]:
        """Name prefix and module; a transformer's tensors are named as its own class names them."""
        for prefix, loaded in self._roots.items():
            yield prefix, loaded if prefix else loaded.auto_model
