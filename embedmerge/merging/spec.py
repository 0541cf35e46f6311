"""What a merging method is."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

from embedmerge.errors import EmbedmergeError, nearest
from embedmerge.merging.modifiers import HELP
from embedmerge.merging.per_expert import as_settings, experts_in, of_expert, require_named
from embedmerge.merging.settings import as_setting, numbers_in, resolve

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from embedmerge.merging.anatomy import Site
    from embedmerge.merging.part import Part
    from embedmerge.merging.settings import Settings
    from embedmerge.merging.survey import Scope, Survey

    Float32 = NDArray[np.float32]

Cut = Literal["slice", "rows", "tensor"]
Statistics = Literal["fisher", "gram"]


class Combine(Protocol):
    """The arithmetic of a method on one tensor, or on a slice of it."""

    def __call__(self, part: Part, /, *args: Any, **parameters: Any) -> Float32:
        """Merge the sources' values, in float32 and in the shape of the part's.

        Each method takes its own parameters by keyword; `*args: Any` beside them tells the type
        checker so, and nothing is passed there.
        """
        ...


@dataclass(frozen=True)
class Parameter:
    """A parameter of a method.

    A numerical one may differ from tensor to tensor (`settings.resolve`), and some from expert to expert
    (`per_expert.of_expert`).

    Attributes:
        default: Holds where the user gives none; its type is the parameter's.
        help: What it does.
        low: Smallest value allowed.
        high: Largest value allowed.
        choices: The words allowed, for a parameter that is a word.
        whole: Whether it is one number for all tensors: a seed, a count of iterations.
        by_expert: Whether it may differ from expert to expert, and so is handed to the method as a tuple
            of numbers, one for each task vector.
    """

    default: float | bool | str
    help: str
    low: float = -math.inf
    high: float = math.inf
    choices: tuple[str, ...] = ()
    whole: bool = False
    by_expert: bool = False

    @property
    def is_number(self) -> bool:
        """Whether it is a number, and not a switch or a word."""
        return isinstance(self.default, int | float) and not isinstance(self.default, bool)

    def checked(self, value: Any, what: str) -> Any:
        """The value as the method takes it.

        Raises:
            EmbedmergeError: It is of another type or out of bounds.
        """
        if self.is_number:
            return self._checked_number(value, what)
        if isinstance(self.default, bool) and not isinstance(value, bool):
            raise EmbedmergeError(f"{what}: must be true or false, not {value!r}")
        if self.choices and value not in self.choices:
            raise EmbedmergeError(f"{what}: must be one of {', '.join(self.choices)}, not {value!r}")
        return value

    def for_tensor(self, value: Any, site: Site, experts: Sequence[str]) -> Any:
        """A checked value as it holds for one tensor: a number, or one for each expert."""
        if not self.is_number:
            return value
        default = float(self.default)
        if self.by_expert:
            return tuple(resolve(of_expert(value, name), site, default) for name in experts)
        return resolve(value, site, default)

    def _checked_number(self, value: Any, what: str) -> Settings:
        setting = as_settings(value, what) if self.by_expert else as_setting(value, what)
        if self.whole and not isinstance(setting, float):
            raise EmbedmergeError(f"{what}: must be one number for all tensors, not {value!r}")
        for number in numbers_in(setting):
            if not self.low <= number <= self.high:
                msg = f"{what}: must be {self.range}, not {number:g}"
                raise EmbedmergeError(msg)
        return setting

    @property
    def range(self) -> str:
        """The bounds in words."""
        if math.isinf(self.high):
            return "any number" if math.isinf(self.low) else f"at least {self.low:g}"
        return f"at most {self.high:g}" if math.isinf(self.low) else f"between {self.low:g} and {self.high:g}"


@dataclass(frozen=True)
class MethodSpec:
    """A merging method.

    Attributes:
        name: Name in recipes and on the command line.
        combine: Its arithmetic.
        summary: One line on what it does.
        citation: Where it comes from.
        of: `sources` where `combine` gives the merged tensor itself; `task vectors` where it gives the
            merged task vector, which is then scaled by λ (`Part.scale`) and added to the base.
        cut: What `combine` may be handed: any slice of a tensor, whole rows of it, or the tensor alone.
        survey: Makes the survey that `Part.facts` comes from; takes the parameters by keyword, and gives
            None where with these it needs none. Where one of them is by expert, the facts of a survey of
            the model are a row for each task vector, told from it alone.
        scope: Whether that survey is of a `tensor` or of the `model`, where no parameter `scope` says so.
        matrices: Whether it is for the weights of Linears alone, all other tensors being averaged.
        statistics: Kind of statistics of each source that it needs.
        parameters: Parameters by name.
        experts: Fewest and most experts; None for any number.
        ordered: Whether the order of the experts matters.
        weights_default: Whether weights may be left out, all experts then counting alike and the base not.
        affine: Whether the result is a sum of what each source gives by itself, times what it counts for.
    """

    name: str
    combine: Combine
    summary: str
    citation: str
    of: Literal["sources", "task vectors"] = "task vectors"
    cut: Cut = "slice"
    survey: Callable[..., Survey | None] | None = None
    scope: Scope = "tensor"
    matrices: bool = False
    statistics: Statistics | None = None
    parameters: dict[str, Parameter] = field(default_factory=dict)
    experts: tuple[int, int | None] = (1, None)
    ordered: bool = False
    weights_default: bool = True
    affine: bool = False

    def with_defaults(self, given: dict[str, Any]) -> dict[str, Any]:
        """The given parameters, checked, with the defaults of the others.

        Raises:
            EmbedmergeError: A parameter that the method has not, or a value it must not have.
        """
        unknown = sorted(given.keys() - self.parameters.keys())
        if unknown:
            hint = nearest(unknown[0], [*self.parameters, *HELP])
            raise EmbedmergeError(f"method {self.name}: no parameter {unknown[0]!r}; {hint}")
        return {
            name: parameter.checked(given.get(name, parameter.default), f"method {self.name}: {name}")
            for name, parameter in self.parameters.items()
        }

    def require_named(self, parameters: dict[str, Any], experts: Sequence[str]) -> None:
        """Refuse checked parameters that name an expert that there is none of.

        Raises:
            EmbedmergeError: A name that is no expert's.
        """
        for name in (name for name, parameter in self.parameters.items() if parameter.by_expert):
            require_named(parameters[name], experts, f"method {self.name}: {name}")

    def tells_apart(self, parameters: dict[str, Any]) -> bool:
        """Whether checked parameters differ from expert to expert."""
        by_expert = (parameters[name] for name, parameter in self.parameters.items() if parameter.by_expert)
        return any(experts_in(settings) for settings in by_expert)

    def for_tensor(self, parameters: dict[str, Any], site: Site, experts: Sequence[str]) -> dict[str, Any]:
        """Checked parameters as they hold for one tensor.

        Args:
            parameters: As `with_defaults` gives them.
            site: The tensor's place.
            experts: Names of the experts that are merged, in the order of the task vectors.
        """
        return {
            name: self.parameters[name].for_tensor(value, site, experts) for name, value in parameters.items()
        }

    def survey_scope(self, parameters: dict[str, Any]) -> str:
        """`model` where the survey is of all tensors together, else `tensor`."""
        return str(parameters.get("scope", self.scope))

    def require_experts(self, count: int) -> None:
        """Refuse a number of experts that the method is not for.

        Raises:
            EmbedmergeError: Too few or too many.
        """
        fewest, most = self.experts
        if count < fewest or (most is not None and count > most):
            wanted = f"exactly {fewest}" if fewest == most else f"at least {fewest}"
            msg = f"method {self.name}: wants the base and {wanted} of its experts, not {count}"
            raise EmbedmergeError(msg)
