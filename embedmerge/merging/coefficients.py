"""What each source counts for."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from embedmerge.errors import EmbedmergeError, nearest
from embedmerge.merging.settings import as_setting, numbers_in, resolve

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from embedmerge.merging.anatomy import Site
    from embedmerge.merging.settings import Setting

SUM_TOLERANCE = 1e-4


@dataclass(frozen=True)
class Coefficients:
    """One weight per source, base first; the same for every tensor unless `by_tensor` says otherwise.

    Attributes:
        weights: Source name -> weight, in the order of the sources.
        by_tensor: Weights of experts that differ from tensor to tensor; the base takes what is left.
    """

    weights: dict[str, float]
    by_tensor: dict[str, Setting] | None = None

    @classmethod
    def explicit(cls, names: Sequence[str], weights: Sequence[float]) -> Coefficients:
        """Weights as the user gives them.

        >>> Coefficients.explicit(["base", "legal"], [0.25, 0.75]).weights
        {'base': 0.25, 'legal': 0.75}

        Raises:
            EmbedmergeError: As many weights as sources are wanted, finite, with sum 1.
        """
        if len(weights) != len(names):
            known = ", ".join(names)
            msg = f"weights: {len(weights)} given for {len(names)} sources ({known}); one each, base first"
            raise EmbedmergeError(msg)
        if not all(math.isfinite(weight) for weight in weights):
            msg = f"weights: {', '.join(map(str, weights))} are not all finite numbers"
            raise EmbedmergeError(msg)
        total = math.fsum(weights)
        if abs(total - 1) > SUM_TOLERANCE:
            addends = " + ".join(map(str, weights))
            msg = f"weights: {addends} = {total:.6g}, and must be 1; the base takes what is left"
            raise EmbedmergeError(msg)
        return cls(dict(zip(names, map(float, weights), strict=True)))

    @classmethod
    def named(cls, names: Sequence[str], given: Mapping[str, Setting]) -> Coefficients:
        """Weights by name; the base takes what is left to 1 and may be left out.

        An expert's weight may differ from tensor to tensor. What stands for it where one number is
        wanted is its mean over the depth, and of a mapping what `*` says.

        >>> Coefficients.named(["base", "legal"], {"legal": {"blocks 0-3": 0.2, "*": 0.6}}).weights
        {'base': 0.4, 'legal': 0.6}

        Raises:
            EmbedmergeError: A weight for no source, an expert without one, a sum other than 1, or a
                setting that is none.
        """
        for name in given:
            if name not in names:
                raise EmbedmergeError(f"weights: no source is named {name!r}; {nearest(name, names)}")
        missing = [name for name in names[1:] if name not in given]
        if missing:
            raise EmbedmergeError(f"weights: no weight for {missing[0]}; every expert needs one")
        settings = {name: as_setting(given[name], f"weights: {name}") for name in names if name in given}
        typical = {name: _typical(setting, name) for name, setting in settings.items()}
        base = typical.get(names[0], round(1 - math.fsum(typical.values()), 12))
        coefficients = cls.explicit(names, [base, *(typical[name] for name in names[1:])])
        varying = {name: setting for name, setting in settings.items() if not isinstance(setting, float)}
        if varying and names[0] in settings:
            msg = "takes what is left where an expert's weight differs from tensor to tensor; leave it out"
            raise EmbedmergeError(f"weights: {names[0]} {msg}")
        return coefficients.with_experts(varying) if varying else coefficients

    @classmethod
    def uniform(cls, names: Sequence[str]) -> Coefficients:
        """The same weight for every source."""
        return cls(dict.fromkeys(names, 1 / len(names)))

    @classmethod
    def experts_alone(cls, names: Sequence[str]) -> Coefficients:
        """The same weight for every expert and none for the base: a paper's method as it stands.

        >>> Coefficients.experts_alone(["base", "legal", "code"]).weights
        {'base': 0.0, 'legal': 0.5, 'code': 0.5}
        """
        base, *experts = names
        return cls({base: 0.0, **dict.fromkeys(experts, 1 / len(experts))})

    def with_experts(self, settings: Mapping[str, Setting]) -> Coefficients:
        """The same, with weights of some experts that differ from tensor to tensor.

        Raises:
            EmbedmergeError: A name that is no expert's, or a setting that is none.
        """
        experts = list(self.weights)[1:]
        for name in settings:
            if name not in experts:
                msg = f"weights: {name!r} is no expert (there are: {', '.join(experts)})"
                raise EmbedmergeError(msg)
        checked = {name: as_setting(value, f"weights: {name}") for name, value in settings.items()}
        return Coefficients(self.weights, checked)

    def counts(self, name: str) -> bool:
        """Whether an expert counts for something in any tensor."""
        return any(numbers_in((self.by_tensor or {}).get(name, self.weights[name])))

    def for_tensor(self, site: Site) -> tuple[float, ...]:
        """The coefficients of one tensor, base first."""
        if not self.by_tensor:
            return tuple(self.weights.values())
        experts = [
            resolve(self.by_tensor.get(name, weight), site, weight)
            for name, weight in list(self.weights.items())[1:]
        ]
        return (1 - math.fsum(experts), *experts)


def _typical(setting: Setting, name: str) -> float:
    """One number for a setting: the mean over the depth of a list, what holds elsewhere of a mapping."""
    if isinstance(setting, dict):
        if "*" not in setting:
            raise EmbedmergeError(f"weights: {name}: say with '*' what holds for all other tensors")
        setting = setting["*"]
    if isinstance(setting, list):
        middles = [(left + right) / 2 for left, right in pairwise(setting)]
        return math.fsum(middles) / len(middles) if middles else setting[0]
    return setting
