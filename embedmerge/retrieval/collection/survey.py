"""What a collection holds, split by split."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from embedmerge.retrieval.collection.candidates import candidates_file
from embedmerge.retrieval.collection.checks import distinct, graded, usable
from embedmerge.retrieval.collection.layout import pick_split, recognise
from embedmerge.retrieval.collection.reading import collection_name
from embedmerge.retrieval.collection.tally import Tally

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from embedmerge.retrieval.collection.content import Row


@dataclass(frozen=True)
class SplitSurvey:
    """A split, counted.

    Attributes:
        split: Its name.
        documents: Documents in its corpus.
        queries: Queries that can be scored.
        judged: Judgements of them.
        candidates: Whether it has candidate lists.
        notes: What is left out and why.
    """

    split: str
    documents: int
    queries: int
    judged: int
    candidates: bool
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Survey:
    """A collection, counted.

    Attributes:
        name: Its name.
        path: Where it is.
        layout: Its form.
        splits: Its splits, the one that stands for it first.
    """

    name: str
    path: Path
    layout: str
    splits: tuple[SplitSurvey, ...]


def survey(path: Path) -> Survey:
    """Count what a collection holds; files that splits share are read once.

    Raises:
        EmbedmergeError: No collection, or a file is missing, damaged or malformed.
    """
    layout = recognise(path)
    splits, name = layout.splits(path), collection_name(path)
    first = pick_split(path, splits, None)
    ids = _Ids()

    def counted(split: str) -> SplitSurvey:
        parts, tally = splits[split], Tally(f"{name}:{split}")
        documents = ids.of("documents", parts.corpus, parts.documents, tally)
        queries = ids.of("queries", parts.topics, parts.queries, tally)
        qrels = usable(graded(parts.judgements(), tally), queries, documents, tally, parts)
        listed = parts.candidates is not None or candidates_file(path, split) is not None
        judged = sum(map(len, qrels.values()))
        return SplitSurvey(split, len(documents), len(qrels), judged, listed, tally.notes)

    ordered = (first, *(split for split in sorted(splits) if split != first))
    return Survey(name, path, layout.name, tuple(counted(split) for split in ordered))


class _Ids:
    """Ids of documents or queries, read once however many splits share the files."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, tuple[Path, ...]], set[str]] = {}

    def of(
        self, what: str, files: tuple[Path, ...], rows: Callable[[], Iterable[Row]], tally: Tally
    ) -> set[str]:
        if (what, files) not in self._known:
            self._known[what, files] = {row.id for row in distinct(rows(), what, tally)}
        return self._known[what, files]
