"""An index of vectors under string ids."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from embedmerge.errors import EmbedmergeError
from embedmerge.retrieval.index.incoming import ROWS, Incoming, lengths_of
from embedmerge.retrieval.index.recall import measured
from embedmerge.retrieval.index.removal import without
from embedmerge.retrieval.index.searching import Search
from embedmerge.retrieval.index.settings import IndexSettings
from embedmerge.retrieval.index.structures import one_thread, trained

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from embedmerge.retrieval.index.recall import Recall
    from embedmerge.retrieval.index.searching import Found, Rows
    from embedmerge.retrieval.index.settings import BuiltKind
    from embedmerge.retrieval.vectors import Embeddings


@dataclass(frozen=True)
class Ranking:
    """What one query found, best first.

    Attributes:
        ids: Ids; equal scores in descending order of the id.
        scores: Similarities, shape (ids,).
    """

    ids: tuple[str, ...]
    scores: Embeddings


class VectorIndex:
    """Vectors by id, to be searched by similarity.

    The first `add` chooses the kind where that is left open, trains it, and measures what it finds
    against exact search; later ones append. Results are the same whatever the number of threads.

    >>> index = VectorIndex(IndexSettings(similarity="dot"))
    >>> index.add(np.float32([[1, 0], [0, 1], [1, 1]]), ["x", "y", "both"])
    >>> [(ranking.ids, ranking.scores.tolist()) for ranking in index.search(np.float32([[2, 1]]), k=2)]
    [(('both', 'x'), [3.0, 2.0])]

    Args:
        settings: Kind and similarity.
        model: Digest of the model that the vectors are of; empty where that does not matter.

    Attributes:
        settings: As given.
        model: As given.
        recall: Of an approximate index as it was built; None for an exact one.
    """

    def __init__(self, settings: IndexSettings | None = None, model: str = "") -> None:
        self.settings = settings or IndexSettings()
        self.model = model
        self.recall: Recall | None = None
        self._built: Search | None = None
        self._rows: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def ids(self) -> Sequence[str]:
        """Id by row, in the order in which they came."""
        return self._built.ids if self._built else ()

    @property
    def kind(self) -> BuiltKind | None:
        """What was built; None before the first vectors."""
        return self._built.kind if self._built else None

    @property
    def dimension(self) -> int | None:
        """Of the vectors; None before the first."""
        return int(self._built.index.d) if self._built else None

    @property
    def built(self) -> Search:
        """What it has been built to.

        Raises:
            EmbedmergeError: There are no vectors in it, or half of some.
        """
        if self._built is None:
            raise EmbedmergeError("index: it is empty; add vectors first")
        if self._built.index.ntotal != len(self._built.ids):
            raise EmbedmergeError("index: adding to it was interrupted; load it again or build it anew")
        return self._built

    def add(
        self,
        vectors: Any,
        ids: Sequence[str],
        *,
        queries: Any = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        """Add vectors, all of them or, where something is wrong, none.

        Args:
            vectors: Shape (ids, dimension): an array, a memory map, of which a block at a time is in
                memory, or a torch tensor.
            ids: One per vector, unlike any that is there.
            queries: Vectors of the kind that will be searched with, to measure the recall of what is
                built; a sample of the vectors themselves where None.
            progress: Called with vectors added and vectors in all.

        Raises:
            EmbedmergeError: Nothing to build an index of, NaN or infinity, another dimension, an id that
                repeats, or too few vectors to train the kind.
        """
        names = list(ids)
        if not names and not len(vectors):
            if self._built is None:
                raise EmbedmergeError("index: the corpus is empty; there is nothing to search in")
            return
        incoming = Incoming(vectors, self.settings.similarity, "vectors", self.dimension)
        self._require_new(names, len(incoming))
        asked = None
        if queries is not None and len(queries):
            asked = self._queries(queries, incoming.dimension)
        first = self._built is None
        with one_thread():
            built = self._trained(incoming) if first else self.built
            longest = _fill(built.index, incoming, progress)
            self._built = replace(built, ids=[*built.ids, *names], longest=max(built.longest, longest))
            self._rows |= {name: row for row, name in enumerate(names, len(built.ids))}
            if first and built.kind != "exact":
                self.recall = measured(self.built, incoming, self.settings.seed, asked)

    def remove(self, ids: Sequence[str]) -> None:
        """Take vectors out, all of them or, where something is wrong, none; the others keep their order.

        The recall stays what it was as the index was built.

        >>> index = VectorIndex()
        >>> index.add(np.eye(3, dtype=np.float32), ["x", "y", "z"])
        >>> index.remove(["y"])
        >>> index.ids
        ['x', 'z']

        Args:
            ids: Different ids, all of them in the index.

        Raises:
            EmbedmergeError: An id is unknown, or none would be left.
        """
        rows = np.unique(self._rows_of(ids, "index: {!r} is not in it, and cannot be taken out"))
        if len(rows) == len(self):
            raise EmbedmergeError("index: nothing would be left in it; remove its folder instead")
        gone = set(rows.tolist())
        left = [name for row, name in enumerate(self.ids) if row not in gone]
        with one_thread():
            self.restore(
                replace(self.built, index=without(self.built, rows, self.settings), ids=left), self.recall
            )

    def search(self, vectors: Any, k: int = 10) -> list[Ranking]:
        """The k most similar of each query.

        Args:
            vectors: Shape (queries, dimension).
            k: How many; all there are where that is less. An index with lists finds fewer where those
                that it looks at hold fewer.

        Raises:
            EmbedmergeError: The index is empty, k is not positive, NaN or infinity, or another dimension.
        """
        ids = self.ids
        return [Ranking(tuple(ids[row] for row in rows), scores) for rows, scores in self.find(vectors, k)]

    def find(self, vectors: Any, k: int) -> list[Found]:
        """`search` with rows in place of ids."""
        if k < 1:
            raise EmbedmergeError(f"index: k = {k}; ask for 1 result at least")
        return self.built.best(self._queries(vectors, self.dimension), k)

    def scores(self, vectors: Any, candidates: Sequence[Sequence[str]]) -> list[Embeddings]:
        """Similarities of each query to its own candidates, as far as the index has kept their vectors.

        Args:
            vectors: Shape (queries, dimension).
            candidates: Ids by query.

        Raises:
            EmbedmergeError: An id is unknown, or as in `search`.
        """
        built = self.built
        if hasattr(built.index, "make_direct_map"):  # lists know no rows by themselves
            built.index.make_direct_map()
        pairs = zip(self._queries(vectors, self.dimension), candidates, strict=True)
        return [built.scores(query, self._rows_of(names)) for query, names in pairs]

    def blocks(self) -> Iterator[Embeddings]:
        """All vectors by row as far as the index has kept them, some thousands at a time."""
        found = self.built.index
        if hasattr(found, "make_direct_map"):  # lists know no rows by themselves
            found.make_direct_map()
        for start in range(0, len(self), ROWS):
            yield found.reconstruct_n(start, min(ROWS, len(self) - start))

    def save(self, folder: Path) -> None:
        """Write the index into a new folder, or in place of the one that is in it.

        Raises:
            EmbedmergeError: It is empty, the folder holds something else, or it cannot be written.
        """
        from embedmerge.retrieval.index.files import save

        save(self, folder)

    @classmethod
    def load(cls, folder: Path, model: str | None = None) -> VectorIndex:
        """Read an index.

        Args:
            folder: What `save` wrote.
            model: Digest of the model that will search in it; None to ask nothing.

        Raises:
            EmbedmergeError: A file is missing or damaged, or the index is of another model.
        """
        from embedmerge.retrieval.index.files import load

        return load(folder, model)

    def restore(self, built: Search, recall: Recall | None) -> None:
        """Take over what was saved."""
        self._built, self.recall = built, recall
        self._rows = {name: row for row, name in enumerate(built.ids)}

    def _trained(self, incoming: Incoming) -> Search:
        kind = self.settings.kind_for(len(incoming), incoming.dimension)
        return Search(trained(kind, incoming, self.settings), kind, self.settings.similarity, [], 0.0)

    def _queries(self, vectors: Any, dimension: int | None) -> Embeddings:
        return Incoming(vectors, self.settings.similarity, "query vectors", dimension).all()

    def _rows_of(self, names: Sequence[str], message: str = "index: the candidate {!r} is not in it") -> Rows:
        unknown = next((name for name in names if name not in self._rows), None)
        if unknown is not None:
            raise EmbedmergeError(message.format(unknown))
        return np.array([self._rows[name] for name in names], dtype=np.int64)

    def _require_new(self, names: Sequence[str], vectors: int) -> None:
        if len(names) != vectors:
            raise EmbedmergeError(f"index: {len(names)} ids for {vectors} vectors")
        seen: set[str] = set()
        for name in names:
            if not isinstance(name, str):
                raise EmbedmergeError(f"index: the id {name!r} is not a string")
            if name in seen or name in self._rows:
                raise EmbedmergeError(f"index: the id {name!r} occurs twice; ids must be unique")
            seen.add(name)


def _fill(index: Any, incoming: Incoming, progress: Callable[[int, int], None] | None) -> float:
    """Add block by block; the largest norm among them."""
    longest = 0.0
    for start, block in incoming.blocks():
        index.add(block)
        longest = max(longest, float(lengths_of(block).max()))
        if progress:
            progress(start + len(block), len(incoming))
    return longest
