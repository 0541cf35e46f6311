"""An index under mteb's protocol of search indexes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from embedmerge.retrieval.index.searching import ranked
from embedmerge.retrieval.index.settings import IndexSettings
from embedmerge.retrieval.index.vector_index import VectorIndex

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from embedmerge.retrieval.index.recall import Recall


class SearchBackend:
    """What mteb's `SearchEncoderWrapper` takes as `index_backend`.

    Args:
        settings: Kind, and the similarity of the model; exact search where None.

    Attributes:
        recall: Of the corpus searched last, where the index is approximate.
    """

    def __init__(self, settings: IndexSettings | None = None) -> None:
        self.settings = settings or IndexSettings("exact")
        self.recall: Recall | None = None
        self.clear()

    def add_documents(self, embeddings: Any, idxs: Sequence[str]) -> None:
        """Index documents.

        Args:
            embeddings: Shape (documents, dimension).
            idxs: Their ids.

        Raises:
            EmbedmergeError: As `VectorIndex.add`.
        """
        self._index.add(embeddings, idxs)
        self.recall = self._index.recall

    def search(
        self,
        embeddings: Any,
        top_k: int,
        similarity_fn: Callable[..., Any] | None = None,
        top_ranked: Mapping[str, Sequence[str]] | None = None,
        query_idx_to_id: Mapping[int, str] | None = None,
    ) -> tuple[list[list[float]], list[list[int]]]:
        """The best documents of each query, among all or among its own candidates.

        Args:
            embeddings: Shape (queries, dimension).
            top_k: How many.
            similarity_fn: mteb's; the settings say which it is.
            top_ranked: Query id -> ids of its candidates.
            query_idx_to_id: Place of a query -> its id; goes with `top_ranked`.

        Returns:
            Scores and places by query: places in the corpus, or, as mteb's wrapper takes them, in the
            query's list of candidates.

        Raises:
            EmbedmergeError: As `VectorIndex.search`, or a candidate that is not in the corpus.
        """
        if top_ranked is not None:
            names = query_idx_to_id or {}
            candidates = [list(top_ranked.get(names[row]) or ()) for row in range(len(embeddings))]
            return self._among(embeddings, candidates, top_k)
        found = self._index.find(embeddings, top_k)
        return [scores.tolist() for _, scores in found], [rows.tolist() for rows, _ in found]

    def clear(self) -> None:
        """Forget all documents."""
        self._index = VectorIndex(self.settings)

    def _among(
        self, embeddings: Any, candidates: list[list[str]], top_k: int
    ) -> tuple[list[list[float]], list[list[int]]]:
        scores = self._index.scores(embeddings, candidates)
        places = [ranked(*each)[:top_k] for each in zip(scores, candidates, strict=True)]
        best = [values[order].tolist() for values, order in zip(scores, places, strict=True)]
        return best, [order.tolist() for order in places]
