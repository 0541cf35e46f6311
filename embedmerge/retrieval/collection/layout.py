"""What kind of collection a path is: frozen layouts, tried in order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from embedmerge.errors import EmbedmergeError
from embedmerge.retrieval.collection.beir import beir_splits, is_beir
from embedmerge.retrieval.collection.flag_embedding import flag_embedding_splits, is_flag_embedding
from embedmerge.retrieval.collection.hugging_face import hugging_face_splits, is_hugging_face
from embedmerge.retrieval.collection.splits import SPLITS
from embedmerge.retrieval.collection.trec import is_trec, trec_splits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from embedmerge.retrieval.collection.content import Parts


@dataclass(frozen=True)
class Layout:
    """A kind of collection: how to recognise it, and how to find the parts of its splits."""

    name: str
    has: str
    matches: Callable[[Path], bool]
    splits: Callable[[Path], dict[str, Parts]]


LAYOUTS = (
    Layout("Hugging Face", "corpus/, queries/ and qrels/", is_hugging_face, hugging_face_splits),
    Layout("TREC", "corpus.jsonl, topics.tsv and qrels.txt", is_trec, trec_splits),
    Layout("BEIR", "corpus.jsonl, queries.jsonl and qrels/test.tsv", is_beir, beir_splits),
    Layout("FlagEmbedding", "lines with query, pos and neg", is_flag_embedding, flag_embedding_splits),
)


def is_collection(path: Path) -> bool:
    """Whether some layout fits; its parts may still be missing or damaged."""
    return any(layout.matches(path) for layout in LAYOUTS)


def recognise(path: Path) -> Layout:
    """The first layout that fits.

    Raises:
        EmbedmergeError: None does.
    """
    for layout in LAYOUTS:
        if layout.matches(path):
            return layout
    known = "; ".join(f"{layout.name}: {layout.has}" for layout in LAYOUTS)
    raise EmbedmergeError(f"{path}: no collection, for it has no qrels; the forms are {known}")


def pick_split(path: Path, present: Iterable[str], asked: str | None) -> str:
    """The split asked for, else the first there is of test, dev, validation, train and any other.

    Raises:
        EmbedmergeError: There is no such split, or none at all.
    """
    present = sorted(present)
    if asked is not None and asked not in present:
        msg = f"{path}: no split {asked!r} in its qrels (there are: {', '.join(present) or 'none'})"
        raise EmbedmergeError(msg)
    if not present:
        layout = recognise(path)
        raise EmbedmergeError(f"{path}: no qrels in it; a {layout.name} folder has {layout.has}")
    return asked or next(split for split in (*SPLITS, *present) if split in present)
