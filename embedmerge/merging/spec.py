"""What a merging method is, and the registry of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from embedmerge.errors import EmbedmergeError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    Float32 = NDArray[np.float32]


class Combine(Protocol):
    """The arithmetic of a method on one tensor, or on one slice of it where the method is elementwise."""

    def __call__(
        self, tensors: Sequence[Float32], coefficients: Sequence[float], /, *args: Any, **parameters: Any
    ) -> Float32:
        """Combine the sources' values, base first, into the merged one, in float32.

        Each method takes its own parameters by keyword; `*args: Any` beside them tells the type
        checker so, and nothing is passed there.
        """
        ...


@dataclass(frozen=True)
class Parameter:
    """A parameter of a method: its default and what it does."""

    default: float | bool | str
    help: str


@dataclass(frozen=True)
class MethodSpec:
    """A merging method.

    Attributes:
        name: Name in recipes and on the command line.
        combine: Its arithmetic.
        summary: One line on what it does.
        citation: Where it comes from.
        parameters: Parameters by name.
        elementwise: Whether a slice of the result depends on the same slice of the sources alone,
            so that tensors may be streamed in slices.
    """

    name: str
    combine: Combine
    summary: str
    citation: str
    parameters: dict[str, Parameter] = field(default_factory=dict)
    elementwise: bool = False

    def with_defaults(self, given: dict[str, Any]) -> dict[str, Any]:
        """The given parameters with the defaults of the others.

        Raises:
            EmbedmergeError: A parameter that the method has not.
        """
        unknown = sorted(given.keys() - self.parameters.keys())
        if unknown:
            known = ", ".join(self.parameters) or "none"
            msg = f"method {self.name}: no parameter {unknown[0]!r} (it has: {known})"
            raise EmbedmergeError(msg)
        return {name: given.get(name, parameter.default) for name, parameter in self.parameters.items()}


def methods() -> dict[str, MethodSpec]:
    """All methods by name.

    >>> sorted(methods())
    ['linear']
    """
    from embedmerge.merging.methods import linear

    return {spec.name: spec for spec in (linear.SPEC,)}


def method(name: str) -> MethodSpec:
    """A method by name.

    Raises:
        EmbedmergeError: There is none of that name.
    """
    known = methods()
    if name not in known:
        msg = f"method {name!r}: no such merging method (there are: {', '.join(sorted(known))})"
        raise EmbedmergeError(msg)
    return known[name]
