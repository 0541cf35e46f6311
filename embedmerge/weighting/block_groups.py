"""Tensors that share their coefficients: the embeddings, each transformer block, and all that is left."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from embedmerge.weighting.decimals import DECIMALS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from embedmerge.merging.anatomy import Site


@dataclass(frozen=True)
class BlockGroups:
    """How a model's tensors are put together: row 0 the embeddings, then the blocks, last all that is left.

    A Dense head and a norm behind the last block are in the last group.

    >>> from embedmerge.merging.anatomy import Site
    >>> names = ["embeddings.tokens.weight", "layer.0.up.weight", "layer.1.up.weight"]
    >>> groups = BlockGroups(tuple(Site.of(name, (2, 2), 2) for name in names))
    >>> groups.setting([0.1, 0.2, 0.3, 0.4])
    {'block 0': 0.2, 'block 1': 0.3, 'embeddings.*': 0.1, '*': 0.4}

    Attributes:
        sites: Every tensor that is merged.
    """

    sites: tuple[Site, ...]

    @property
    def blocks(self) -> int:
        """Number of transformer blocks."""
        return 1 + max((site.block for site in self.sites if site.block is not None), default=-1)

    def __len__(self) -> int:
        return self.blocks + 2

    def row(self, site: Site) -> int:
        """Group of a tensor."""
        if site.block is not None:
            return 1 + site.block
        return 0 if site.depth == 0 else self.blocks + 1

    def setting(self, numbers: Sequence[float]) -> dict[str, float | list[float]]:
        """One expert's numbers as `embedmerge.merging.settings.resolve` reads them.

        Args:
            numbers: One for each group.
        """
        short = [round(float(number), DECIMALS) for number in numbers]
        by_block = {f"block {block}": short[1 + block] for block in range(self.blocks)}
        return {**by_block, **dict.fromkeys(self._embeddings(), short[0]), "*": short[-1]}

    def _embeddings(self) -> list[str]:
        """Selectors of the embeddings: patterns where these fit nothing else outside the blocks."""
        outside = [site for site in self.sites if site.block is None]
        own = [site.name for site in outside if self.row(site) == 0]
        patterns = list(dict.fromkeys(f"{name.partition('.')[0]}.*" for name in own))
        fitting = [site.name for site in outside if any(fnmatchcase(site.name, each) for each in patterns)]
        return patterns if fitting == own else own
