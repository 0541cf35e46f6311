"""An encoder whose weights are a mixture, as a differentiable function of what each expert counts for."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from embedmerge.errors import EmbedmergeError
from embedmerge.merging.anatomy import Site
from embedmerge.statistics.stack import Stack
from embedmerge.statistics.text import Text
from embedmerge.weighting.block_groups import BlockGroups

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import torch

    from embedmerge.checkpoint.layout import Checkpoint
    from embedmerge.merging.modifiers import Modifiers
    from embedmerge.sources import Source
    from embedmerge.weighting.trial import Trials


class MergedForward:
    """The base's modules before normalisation, with weights that depend on coefficients.

    A tensor of group g is `θ = θ₀ + λ Σ_i c[g, i] τ_i`, λ being what the modifiers of the method multiply
    its task vectors with, as in AdaMerging (Yang et al. 2024, arXiv 2310.02575) with a group for a
    layer. Base and task vectors are held in float32. A tensor that some source lacks stays the base's, and
    so do buffers.

    Args:
        sources: Base first, then the experts that get coefficients.
        trials: Makes the sources' encoders.
        modifiers: Of the merging method; none for a plain weighted sum.

    Raises:
        EmbedmergeError: The tensors of the blocks cannot be told from the modules.

    Attributes:
        groups: Which tensors share their coefficients.
    """

    def __init__(self, sources: Sequence[Source], trials: Trials, modifiers: Modifiers | None = None) -> None:
        base, *experts = sources
        self._stack = Stack(trials.of_source(base), base.checkpoint)
        self._stack.model.requires_grad_(False)
        sites = list(_sites([source.checkpoint for source in sources]))
        self.groups = BlockGroups(tuple(sites))
        self._require_blocks(sites, base.checkpoint)
        reached = {
            site.name: modifiers.factor(site) if modifiers else 1.0
            for site in sites
            if site.name in self._stack.parameters
        }
        # One expert's modules after the other's, so that no more than their differences are held.
        moves = [
            self._differences(Stack(trials.of_source(expert), base.checkpoint), reached) for expert in experts
        ]
        places = {id(parameter): name for name, parameter in self._stack.model.named_parameters()}
        self._tensors = [
            _Tensor(
                places[id(self._stack.parameters[site.name])],
                self.groups.row(site),
                self._stack.parameters[site.name],
                [move[site.name] for move in moves],
            )
            for site in sites
            if site.name in reached
        ]

    def at(self, coefficients: torch.Tensor) -> MergedModel:
        """The model with some coefficients.

        Args:
            coefficients: Shape (groups, experts).
        """
        return MergedModel(
            self._stack, {tensor.place: tensor.merged(coefficients) for tensor in self._tensors}
        )

    def _differences(self, expert: Stack, factors: dict[str, float]) -> dict[str, torch.Tensor]:
        """An expert's task vector, each tensor times its factor."""
        return {
            name: factor * (expert.parameters[name].detach() - self._stack.parameters[name])
            for name, factor in factors.items()
        }

    def _require_blocks(self, sites: Sequence[Site], donor: Checkpoint) -> None:
        for site in sites:
            inside = site.block is not None and site.kind == "linear"
            if inside and site.name not in self._stack.parameters:
                msg = (
                    f"{self._stack.name}: {site.name} is no parameter of its {donor.architecture} class, so "
                    "weights by block cannot be learned; choose with strategy front"
                )
                raise EmbedmergeError(msg)


@dataclass(frozen=True)
class _Tensor:
    """A tensor of the base and of every task vector."""

    place: str
    row: int
    base: torch.Tensor
    task_vectors: list[torch.Tensor]

    def merged(self, coefficients: torch.Tensor) -> torch.Tensor:
        merged = self.base
        for coefficient, task_vector in zip(coefficients[self.row], self.task_vectors, strict=True):
            merged = merged + coefficient * task_vector
        return merged


class MergedModel:
    """A mixture that can be encoded with, differentiable by its coefficients.

    Args:
        stack: The base's modules.
        tensors: What stands for their parameters, by the name they have in the module stack.
    """

    def __init__(self, stack: Stack, tensors: dict[str, torch.Tensor]) -> None:
        self._stack = stack
        self._tensors = tensors

    def pooled(self, texts: Sequence[Text]) -> torch.Tensor:
        """Embeddings before normalisation; a backward pass runs each batch again and holds but one.

        Args:
            texts: Any number; those that occur twice are encoded once.

        Returns:
            Shape (texts, dimension), on the processor.
        """
        import torch
        from torch.utils.checkpoint import checkpoint

        wanted = [self._as_met(text) for text in texts]
        batches = list(self._batches(dict.fromkeys(wanted)))
        vectors = [
            checkpoint(self._encoded, self._stack.features(batch), use_reentrant=False).cpu()
            for batch in batches
        ]
        place = {text: row for row, text in enumerate(text for batch in batches for text in batch)}
        return torch.cat(vectors)[[place[text] for text in wanted]]

    def _batches(self, texts: Iterable[Text]) -> Iterator[list[Text]]:
        """Texts of one kind, longest first, their padded size within the token budget."""
        encoder = self._stack.encoder
        for kind, alike in groupby(sorted(texts, key=lambda text: text.kind), key=lambda text: text.kind):
            own = list(alike)
            for rows in encoder.batches([encoder.model.prompt(kind) + text.content for text in own]):
                yield [own[row] for row in rows]

    def _encoded(self, features: dict[str, torch.Tensor]) -> torch.Tensor:
        import torch

        model, bf16 = self._stack.model, self._stack.encoder.bf16
        with torch.autocast(model.device.type, dtype=torch.bfloat16, enabled=bf16):
            found = torch.func.functional_call(model, self._tensors, (dict(features),))
        pooled: torch.Tensor = found["sentence_embedding"].float()
        return pooled

    def _as_met(self, text: Text) -> Text:
        """A text under one kind where the model's prompts for both are the same."""
        prompt = self._stack.encoder.model.prompt
        return Text(text.content) if prompt("query") == prompt("document") else text


def _sites(checkpoints: Sequence[Checkpoint]) -> Iterator[Site]:
    """The floating tensors that every source has on disk, named as in a merge."""
    donor = checkpoints[0]
    for place, module in enumerate(donor.modules):
        head = module.kind != "Transformer"
        located = [checkpoint.tensors_of(place) for checkpoint in checkpoints]
        for name, location in located[0].items():
            if location.info.is_floating and all(name in each for each in located):
                whole = f"{module.path}/{name}" if head else name
                yield Site.of(whole, location.info.shape, donor.depth or 0, head=head)
