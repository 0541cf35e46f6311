"""LM-Cocktail's rule: softmax of minus loss over temperature (Xiao et al. 2023, arXiv 2311.13534)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field, model_validator
from scipy.special import softmax

from embedmerge.errors import EmbedmergeError
from embedmerge.merging.coefficients import Coefficients
from embedmerge.weighting.decimals import DECIMALS, rounded
from embedmerge.weighting.examples import sample_negatives
from embedmerge.weighting.loss import in_batch_loss, pool_losses
from embedmerge.weighting.strategy import Choice, Evidence, OnExamples

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from embedmerge.sources import Source

TEMPERATURE = 0.5
REFERENCE_TEMPERATURE = 5.0
REFERENCE_NEGATIVES = 7
REFERENCE_BATCH = 2
REFERENCE_LENGTH = 2048  # cut to the model's positions, beyond which LM_Cocktail fails
REFERENCE_DECIMALS = 7


class Cocktail(OnExamples):
    """Weights from each source's retrieval loss on a few examples of the target domain.

    The three modes of the paper: base and fine-tune; base, fine-tune and peers; peers only (no
    source of role target). `target_share` is the paper's alpha: the fine-tune's weight is set to it
    and the others share the rest by their losses.

    Attributes:
        temperature: Divides the losses. At 0.5 a source whose loss is 0.5 lower weighs 2.7 times as much.
        negatives: Negatives drawn per row; None for all that the rows have.
        target_share: Weight of the fine-tune, or None to let its loss decide.
        reference: Reproduce LM_Cocktail 0.0.4: CLS pooling, no prompts, temperature 5, 7 negatives,
            candidates of batches of 2.
    """

    strategy: Literal["cocktail"] = "cocktail"
    temperature: float = Field(default=TEMPERATURE, gt=0)
    negatives: int | None = Field(default=None, ge=0)
    target_share: float | None = Field(default=None, ge=0, le=1)
    reference: bool = False

    @model_validator(mode="after")
    def _reference_defaults(self) -> Cocktail:
        if not self.reference:
            return self
        defaults = {"temperature": REFERENCE_TEMPERATURE, "negatives": REFERENCE_NEGATIVES}
        missing = {key: value for key, value in defaults.items() if key not in self.model_fields_set}
        for key, value in missing.items():  # the model is frozen to everyone else
            self.__dict__[key] = value
        return self

    def choose(self, evidence: Evidence) -> Choice:
        """Encode the examples with every source and turn the losses into weights.

        Raises:
            EmbedmergeError: Too few negatives, a `target_share` without one target, or a loss that is
                not a number.
        """
        target = self._target(evidence.sources)
        losses, errors = self._reference_losses(evidence) if self.reference else self._pool_losses(evidence)
        for name, loss in losses.items():
            if not np.isfinite(loss):
                msg = f"{name}: its loss on the examples is {loss}; its weights are broken, leave it out"
                raise EmbedmergeError(msg)
        weights = self._weights(losses, target)
        return Choice(Coefficients(weights), losses, errors)

    def _target(self, sources: Sequence[Source]) -> str | None:
        if self.target_share is None:
            return None
        targets = [source.name for source in sources if source.role == "target"]
        if len(targets) != 1:
            msg = f"weighting.target_share: one source of role target is wanted, {len(targets)} found"
            raise EmbedmergeError(msg)
        return targets[0]

    def _pool_losses(self, evidence: Evidence) -> tuple[dict[str, float], dict[str, float]]:
        examples = evidence.examples
        if self.negatives is not None:
            examples = sample_negatives(examples, self.negatives, self.seed)
        per_example = {
            source.name: pool_losses(evidence.trials.of_source(source), examples, self.similarity_temperature)
            for source in evidence.sources
        }
        means = {name: float(losses.mean()) for name, losses in per_example.items()}
        if len(examples) < 2:
            return means, {}
        scale = np.sqrt(len(examples))
        return means, {name: float(losses.std(ddof=1) / scale) for name, losses in per_example.items()}

    def _reference_losses(self, evidence: Evidence) -> tuple[dict[str, float], dict[str, float]]:
        examples = sample_negatives(evidence.examples, self.negatives or 0, self.seed)
        settings = replace(evidence.trials.settings, precision="fp32", max_seq_length=REFERENCE_LENGTH)
        losses = {
            source.name: in_batch_loss(
                evidence.trials.of_source(source, settings),
                examples,
                REFERENCE_BATCH,
                self.similarity_temperature,
            )
            for source in evidence.sources
        }
        return losses, {}

    def _weights(self, losses: Mapping[str, float], target: str | None) -> dict[str, float]:
        shared = {name: loss for name, loss in losses.items() if name != target}
        total = 1.0 if target is None else 1.0 - (self.target_share or 0.0)
        softened = cocktail_weights(shared, self.temperature)
        weights = {name: total * softened[name] if name in softened else 1.0 - total for name in losses}
        return rounded(weights, REFERENCE_DECIMALS if self.reference else DECIMALS)


def cocktail_weights(losses: Mapping[str, float], temperature: float) -> dict[str, float]:
    """softmax(-losses / temperature), by name.

    >>> weights = cocktail_weights({"base": 1.0, "legal": 0.5}, temperature=0.5)
    >>> {name: round(weight, 2) for name, weight in weights.items()}
    {'base': 0.27, 'legal': 0.73}
    """
    values = softmax(-np.array(list(losses.values())) / temperature)
    return dict(zip(losses, map(float, values), strict=True))
