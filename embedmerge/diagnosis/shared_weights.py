"""The weights that all sources have, read a slice at a time."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from embedmerge.checkpoint.compat import is_expendable, not_finite
from embedmerge.checkpoint.tensors import is_finite
from embedmerge.merging.anatomy import Site

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from embedmerge.checkpoint.layout import Checkpoint
    from embedmerge.checkpoint.reading import TensorLocation, TensorReader

    Float32 = NDArray[np.float32]

HELD = 1 << 20  # elements that one slice holds of all sources together


@dataclass(frozen=True)
class SharedWeights:
    """The floating tensors that all sources have, but for those that no pooling mode reads.

    Attributes:
        sources: Opened sources that have passed the gate, base first.
        reader: Reads their files.
    """

    sources: Sequence[Checkpoint]
    reader: TensorReader

    @cached_property
    def sites(self) -> dict[Site, tuple[TensorLocation, ...]]:
        """Every tensor's place in the model, and where each source keeps it."""
        return {site: locations for site, locations in self._located() if locations[0].info.is_floating}

    def slices(self, site: Site) -> list[slice]:
        """How a tensor is cut, so that a slice of all sources fits in memory."""
        step = max(HELD // len(self.sources), 1)
        return [slice(start, min(start + step, site.elements)) for start in range(0, site.elements, step)]

    def values(self, site: Site, source: int, cut: slice) -> Float32:
        """A flat slice of one source's tensor.

        Raises:
            EmbedmergeError: It holds NaN or infinity.
        """
        location = self.sites[site][source]
        values = self.reader.read_float32(location, cut.start, cut.stop)
        if not is_finite(values):
            raise not_finite(self.sources[source].name, location.info.name)
        return values

    def matrix(self, site: Site, source: int) -> Float32:
        """A whole tensor of one source, in its shape.

        Raises:
            EmbedmergeError: It holds NaN or infinity.
        """
        return self.values(site, source, slice(0, site.elements)).reshape(site.shape)

    def _located(self) -> Iterator[tuple[Site, tuple[TensorLocation, ...]]]:
        base = self.sources[0]
        for place, module in enumerate(base.modules):
            tensors = [source.tensors_of(place) for source in self.sources]
            head = module.kind != "Transformer"
            for name, located in tensors[0].items():
                if is_expendable(name) or not all(name in each for each in tensors):
                    continue
                called = f"{module.path}/{name}" if head else name
                site = Site.of(called, located.info.shape, base.depth or 0, head=head)
                yield site, tuple(each[name] for each in tensors)
