"""Strategies that choose one weight per source; their fields are the recipe's keys."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict

from embedmerge.merging.coefficients import Coefficients

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from embedmerge.retrieval.encoder import Encoder, EncodingSettings
    from embedmerge.sources import Source
    from embedmerge.weighting.examples import Example

    EncoderOf = Callable[[Source, EncodingSettings], Encoder]


@dataclass(frozen=True)
class Choice:
    """Chosen weights and what they were chosen by.

    Attributes:
        coefficients: One weight per source, base first.
        losses: Mean loss of each source on the examples; empty where none was needed.
        losses_se: Standard error of each mean; empty likewise, and with a single example.
    """

    coefficients: Coefficients
    losses: dict[str, float] = field(default_factory=dict)
    losses_se: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Evidence:
    """What a strategy may look at.

    Attributes:
        sources: Base first.
        examples: Empty for strategies that need none.
        settings: How texts are encoded.
        encoder_of: Makes the encoder of a source.
    """

    sources: Sequence[Source]
    examples: Sequence[Example]
    settings: EncodingSettings
    encoder_of: EncoderOf

    @property
    def names(self) -> list[str]:
        """Names of the sources, base first."""
        return [source.name for source in self.sources]


class Strategy(BaseModel, ABC):
    """A way to choose weights."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @property
    def examples_file(self) -> str | None:
        """The examples file it looks at, None for a strategy that needs none."""
        return None

    def require_consistent(self, names: Sequence[str]) -> None:
        """Check what can be checked before any model is opened.

        Args:
            names: Names of the sources, base first.

        Raises:
            EmbedmergeError: The settings do not fit these sources.
        """

    @abstractmethod
    def choose(self, evidence: Evidence) -> Choice:
        """Choose one weight per source.

        Raises:
            EmbedmergeError: The evidence does not allow a choice.
        """


class Explicit(Strategy):
    """Weights as the user gives them, by name; the base may be left out and takes what is left to 1.

    An expert's may be a list over the depth, or a mapping from blocks or name patterns to numbers.
    """

    strategy: Literal["explicit"] = "explicit"
    weights: dict[str, Any]

    def require_consistent(self, names: Sequence[str]) -> None:
        """One weight for every expert, sum 1."""
        Coefficients.named(names, self.weights)

    def choose(self, evidence: Evidence) -> Choice:
        """The given weights, in the order of the sources."""
        return Choice(Coefficients.named(evidence.names, self.weights))


class Uniform(Strategy):
    """The same weight for every source, the base included."""

    strategy: Literal["uniform"] = "uniform"

    def choose(self, evidence: Evidence) -> Choice:
        """One part in as many as there are sources."""
        return Choice(Coefficients.uniform(evidence.names))
