"""What may be done to any method's result: scale it by depth or by tensor, clamp it, leave tensors out."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from embedmerge.errors import EmbedmergeError
from embedmerge.merging.settings import as_setting, fits, numbers_in, resolve

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from embedmerge.merging.anatomy import Site
    from embedmerge.merging.part import Part
    from embedmerge.merging.settings import Setting

    Float32 = NDArray[np.float32]

# What recipes and `--param` call them, and what `embedmerge methods` says of them.
HELP = {
    "scale": "factor on the merged task vector, on top of the weights",
    "lines": "LiNeS: factor at the embeddings and the first block, rising to `lines_top` at the last",
    "lines_top": "LiNeS: factor at the last block and behind it; 1 where left out",
    "clamp": "no element moves further from the base than this times the furthest expert's",
    "exclude": "tensors that are averaged instead: `block 3`, `blocks 0-5` or name patterns",
}


@dataclass(frozen=True)
class Modifiers:
    """What is done to a method's result, on top of it.

    Attributes:
        scale: Factor on the merged task vector.
        lines: LiNeS' factor α at depth 0; None for no scaling by depth.
        lines_top: LiNeS' factor α + β at the last block.
        clamp: Bound on how far an element moves, as a multiple of the furthest expert's; None for none.
        exclude: Selectors of tensors that are averaged instead of merged by the method.
    """

    scale: Setting = 1.0
    lines: float | None = None
    lines_top: float = 1.0
    clamp: Setting | None = None
    exclude: tuple[str, ...] = ()

    @classmethod
    def parse(cls, given: Mapping[str, Any]) -> Modifiers:
        """Modifiers as the user wrote them.

        Raises:
            EmbedmergeError: A value that a modifier must not have.
        """
        checked: dict[str, Any] = {name: as_setting(given[name], name) for name in given.keys() - {"exclude"}}
        for name in checked.keys() & {"lines", "lines_top"}:
            if not isinstance(checked[name], float):
                raise EmbedmergeError(
                    f"{name}: must be one number, it sets the factors over the depth itself"
                )
        if "clamp" in checked and min(numbers_in(checked["clamp"])) < 0:
            raise EmbedmergeError(f"clamp: must be at least 0, not {given['clamp']!r}")
        if "lines_top" in checked and "lines" not in checked:
            raise EmbedmergeError("lines_top: says nothing without `lines`; give both")
        if "exclude" in given:
            selectors = [given["exclude"]] if isinstance(given["exclude"], str) else given["exclude"]
            if not isinstance(selectors, list | tuple) or not all(isinstance(one, str) for one in selectors):
                raise EmbedmergeError(f"exclude: {given['exclude']!r} is no list of name patterns")
            checked["exclude"] = tuple(selectors)
        return cls(**checked)

    @property
    def changed(self) -> dict[str, Any]:
        """Those that are not the default, as `parse` takes them."""
        named = [(field.name, getattr(self, field.name), field.default) for field in fields(self)]
        changed = {name: value for name, value, default in named if value != default}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in changed.items()}

    def excludes(self, site: Site) -> bool:
        """Whether a tensor is averaged instead."""
        return any(fits(selector, site) for selector in self.exclude)

    def factor(self, site: Site) -> float:
        """Factor on a tensor's merged task vector: scale times LiNeS' (arXiv 2410.17146, eq. 2)."""
        scale = resolve(self.scale, site, 1.0)
        if self.lines is None:
            return scale
        return scale * (self.lines + (self.lines_top - self.lines) * site.depth)

    def apply(self, merged: Float32, part: Part) -> Float32:
        """The merged values after scaling and clamping.

        Args:
            merged: The method's result, of the part's shape.
            part: What it was made from.
        """
        factor = self.factor(part.site)
        if factor != 1:
            merged = part.base + np.float32(factor) * (merged - part.base)
        if self.clamp is None:
            return merged
        furthest = np.max(np.abs(np.stack(part.task_vectors)), axis=0)
        bound = np.float32(resolve(self.clamp, part.site, np.inf)) * furthest
        moved: Float32 = part.base + np.clip(merged - part.base, -bound, bound)
        return moved
