"""A merge of arrays that are already in memory, by the same road that files take."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from embedmerge.merging.anatomy import Site
from embedmerge.merging.coefficients import Coefficients
from embedmerge.merging.parallel import Workers
from embedmerge.merging.streaming import HELD, Arithmetic, Streaming

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    Float32 = NDArray[np.float32]
    Arrays = Mapping[str, NDArray[Any]]


def merge_arrays(
    method: str,
    sources: Mapping[str, Arrays],
    weights: Sequence[float] | None = None,
    *,
    parameters: Mapping[str, Any] | None = None,
    statistics: Mapping[str, Arrays] | None = None,
    held: int = HELD,
) -> dict[str, Float32]:
    """Merge tensors of several models.

    >>> base, legal = {"w": np.zeros((2, 2))}, {"w": np.ones((2, 2))}
    >>> merge_arrays("linear", {"base": base, "legal": legal}, [0.75, 0.25])["w"][0]
    array([0.25, 0.25], dtype=float32)

    Args:
        method: Name of the merging method.
        sources: Source name -> tensor name -> values, base first; all with the same names and shapes.
        weights: What each source counts for, base first; every expert alike and the base not where None.
        parameters: Parameters of the method and modifiers.
        statistics: Source name -> tensor name -> its statistics, for a method that needs them; a tensor
            without is averaged.
        held: Elements that a slice holds of all sources together.

    Returns:
        The merged tensors, in float32.

    Raises:
        EmbedmergeError: An unknown method or parameter, or a value that does not fit.
    """
    names = list(sources)
    coefficients = (
        Coefficients.experts_alone(names) if weights is None else Coefficients.explicit(names, weights)
    )
    base = sources[names[0]]
    untold = [Site.of(name, np.shape(values)) for name, values in base.items()]
    blocks = 1 + max((site.block for site in untold if site.block is not None), default=-1)
    sites = [Site.of(site.name, site.shape, blocks) for site in untold]

    def read(site: Site, source: int, start: int, stop: int) -> Float32:
        values = np.asarray(sources[names[source]][site.name], dtype=np.float32)
        return values.reshape(-1)[start:stop]

    def read_statistics(site: Site, source: int, start: int, stop: int) -> Float32 | None:
        assert statistics is not None
        found = statistics[names[source]].get(site.name)
        if found is None:
            return None
        values = np.asarray(found, dtype=np.float32).reshape(-1)
        return values if values.size != site.elements else values[start:stop]

    arithmetic = Arithmetic.of(method, dict(parameters or {}), coefficients)
    merged = {site: np.empty(site.elements, np.float32) for site in sites}
    with Workers() as workers:
        streaming = Streaming(
            arithmetic, names, read, workers, read_statistics if statistics is not None else None, held
        )
        streaming.survey_model(sites)
        for site, start, values in streaming.slices(sites):
            merged[site][start : start + values.size] = values
    return {site.name: values.reshape(site.shape) for site, values in merged.items()}
