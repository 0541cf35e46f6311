"""Passages and queries as the base sees them, each encoded once."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from embedmerge.retrieval.vectors import normalised
from embedmerge.sampling import drawn

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from embedmerge.retrieval.encoder import Encoder

    Embeddings = NDArray[np.float32]


class BaseView:
    """Some passages of the corpus, and where the base puts them.

    Args:
        encoder: Of the base; through no cache, for what a cache holds changes the batches, and so the last
            bit of a similarity.
        passages: Different ones.
    """

    def __init__(self, encoder: Encoder, passages: Sequence[str]) -> None:
        self.passages = tuple(passages)
        self._encoder = encoder

    def __contains__(self, text: str) -> bool:
        return text in self._places

    def of_passages(self, texts: Sequence[str]) -> Embeddings:
        """Embeddings of length one of some of the passages, shape (texts, dimension)."""
        return self._vectors[[self._places[text] for text in texts]]

    def of_queries(self, texts: Sequence[str]) -> Embeddings:
        """Embeddings of length one, shape (texts, dimension)."""
        return normalised(self._encoder.embed(texts, self._encoder.model.prompt("query")))

    @cached_property
    def _vectors(self) -> Embeddings:
        return normalised(self._encoder.embed(self.passages, self._encoder.model.prompt("document")))

    @cached_property
    def _places(self) -> dict[str, int]:
        return {text: place for place, text in enumerate(self.passages)}


def some_passages(needed: Sequence[str], corpus: Sequence[str], most: int, seed: int) -> list[str]:
    """The needed passages, and a draw of the others in the order of the corpus.

    >>> some_passages(["c", "a", "c"], ["a", "b", "c", "d"], 2, 0)
    ['c', 'a']

    Args:
        needed: Passages that are in whatever `most` says.
        corpus: All passages.
        most: How many at most.
        seed: Of the draw.
    """
    own = dict.fromkeys(needed)
    others = [text for text in corpus if text not in own]
    return [*own, *(others[place] for place in drawn(len(others), most - len(own), seed))]
