"""Strategies that choose one weight per source; their fields are the recipe's keys."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from embedmerge.merging.coefficients import Coefficients
from embedmerge.merging.registry import method as find_method
from embedmerge.weighting.selection import Selection

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from embedmerge.sources import Source
    from embedmerge.weighting.examples import Example
    from embedmerge.weighting.trial import Trials


@dataclass(frozen=True)
class Choice:
    """Chosen weights and what they were chosen by.

    Attributes:
        coefficients: One weight per source, base first.
        losses: Mean loss of each source on the examples; empty where none was needed.
        losses_se: Standard error of each mean; empty likewise, and with a single example.
        selection: The trade-off and how sure the choice is; None from a strategy that sees one side only.
        parameters: Parameters of the method, where they were chosen along with the weights.
    """

    coefficients: Coefficients
    losses: dict[str, float] = field(default_factory=dict)
    losses_se: dict[str, float] = field(default_factory=dict)
    selection: Selection | None = None
    parameters: dict[str, Any] | None = None


PLAIN = ("linear", "task_arithmetic")  # methods by which a source that alone counts comes out as it is


@dataclass(frozen=True)
class MethodChoice:
    """A merging method with parameters.

    Attributes:
        name: Merging method.
        parameters: Its parameters and modifiers.
    """

    name: str = "linear"
    parameters: dict[str, Any] = field(default_factory=dict)

    @property
    def is_affine(self) -> bool:
        """Whether the result is a weighted sum of what each source gives alone."""
        return find_method(self.name).affine and "clamp" not in self.parameters

    @property
    def keeps_sources(self) -> bool:
        """Whether a source that alone counts comes out as it is."""
        return self.name in PLAIN and not self.parameters


@dataclass(frozen=True)
class Evidence:
    """What a strategy may look at.

    Attributes:
        sources: Base first.
        examples: Empty for strategies that need none.
        trials: Makes encoders of sources and mixtures.
        corpus: Passages that compete besides those of the examples.
        method: How the mixture will be merged, its coefficients aside.
        journal: File in which a search notes what it has tried, so that it can go on; None for none.
    """

    sources: Sequence[Source]
    examples: Sequence[Example]
    trials: Trials
    corpus: Sequence[str] = ()
    method: MethodChoice = MethodChoice()
    journal: Path | None = None

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

    @property
    def may_see_test_data(self) -> bool:
        """Whether the user has said that a test split may be chosen on."""
        return False

    def reads(self) -> dict[str, str]:
        """Digests of what it reads besides the examples, by setting.

        Raises:
            EmbedmergeError: Something of it is missing or malformed.
        """
        return {}

    def require_untested(self, evaluated: Mapping[str, Iterable[str]]) -> None:
        """Refuse what it reads besides the examples where it is evaluated on too.

        Args:
            evaluated: Queries of each task, by the task's name.

        Raises:
            EmbedmergeError: It is, and that was not said to be known.
        """

    def require_consistent(self, names: Sequence[str], method: MethodChoice | None = None) -> None:
        """Check what can be checked before any model is opened.

        Args:
            names: Names of the sources, base first.
            method: How the mixture will be merged; linear where None.

        Raises:
            EmbedmergeError: The settings do not fit these sources.
        """

    @abstractmethod
    def choose(self, evidence: Evidence) -> Choice:
        """Choose one weight per source.

        Raises:
            EmbedmergeError: The evidence does not allow a choice.
        """


class OnExamples(Strategy, ABC):
    """A strategy that looks at examples of the target domain.

    Attributes:
        examples: JSONL file with `query`, `pos` and `neg` on each line, or a BEIR folder with `:split`; held
            out from tuning.
        similarity_temperature: Divides similarities in the loss.
        seed: Of every draw.
        i_know_this_is_test_data: Whether what it looks at may come from a test split.
    """

    examples: str
    similarity_temperature: float = Field(default=0.05, gt=0)
    seed: int = 0
    i_know_this_is_test_data: bool = False

    @property
    def examples_file(self) -> str | None:
        """The file or folder with the examples."""
        return self.examples

    @property
    def may_see_test_data(self) -> bool:
        """Whether the user has said so."""
        return self.i_know_this_is_test_data


class Explicit(Strategy):
    """Weights as the user gives them, by name; the base may be left out and takes what is left to 1.

    An expert's may be a list over the depth, or a mapping from blocks or name patterns to numbers.
    """

    strategy: Literal["explicit"] = "explicit"
    weights: dict[str, Any]

    def require_consistent(self, names: Sequence[str], method: MethodChoice | None = None) -> None:
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


def choice_to_json(choice: Choice) -> dict[str, Any]:
    """A choice in plain types, as a run keeps it."""
    plain: dict[str, Any] = asdict(choice)
    coefficients = plain.pop("coefficients")
    return {"weights": coefficients["weights"], "weights_by_tensor": coefficients["by_tensor"], **plain}


def choice_from_json(content: dict[str, Any]) -> Choice:
    """The choice that `choice_to_json` wrote."""
    found = content["selection"]
    return Choice(
        Coefficients(content["weights"], content["weights_by_tensor"]),
        content["losses"],
        content["losses_se"],
        TypeAdapter(Selection).validate_python(found) if found else None,
        content["parameters"],
    )
