"""The statistics of all sources of a merge."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from embedmerge.checkpoint.reading import TensorLocation
    from embedmerge.mixture import Mixture
    from embedmerge.retrieval.settings import EncodingSettings
    from embedmerge.sources import Source
    from embedmerge.statistics.text import Text

    Located = dict[str, TensorLocation]


def gather(
    sources: Sequence[Source],
    mixture: Mixture,
    texts: Sequence[Text],
    settings: EncodingSettings | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> list[Located] | None:
    """Statistics of every source that counts for something, from the user's cache where they are there.

    Args:
        sources: Opened, base first.
        mixture: Its method says which statistics; None are gathered where it needs none.
        texts: Unlabelled texts.
        settings: How texts are encoded; always in float32 here.
        progress: Called with a label, texts done and texts in all.

    Returns:
        Tensor name -> statistics, for each source; empty for one that counts for nothing.

    Raises:
        EmbedmergeError: A source cannot be encoded with, or its tensors cannot be told from its modules.
    """
    arithmetic, coefficients = mixture.arithmetic, mixture.coefficients
    kind = arithmetic.spec.statistics
    if kind is None:
        return None
    from embedmerge.retrieval.cache import cache_folder
    from embedmerge.retrieval.settings import EncodingSettings
    from embedmerge.sources import source_encoder
    from embedmerge.statistics.gathering import statistics_of
    from embedmerge.statistics.store import StatisticsStore

    exact = replace((settings or EncodingSettings()).for_few_texts, precision="fp32")
    store = StatisticsStore(cache_folder() / "statistics")
    return [
        statistics_of(
            source_encoder(source, exact, None),
            sources[0].checkpoint,
            kind,
            texts,
            arithmetic.parameters,
            store,
            partial(progress, f"text: {source.name}") if progress else None,
        )
        if coefficients.weights[source.name] or coefficients.by_tensor
        else {}
        for source in sources
    ]
