"""A BEIR folder: `corpus`, `queries` and `qrels/<split>`, as text, gzip or parquet."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from embedmerge.retrieval.collection.columns import text_rows
from embedmerge.retrieval.collection.content import Parts
from embedmerge.retrieval.collection.qrels import QRELS, read_qrels
from embedmerge.retrieval.collection.rows import TABLES, ending, first_of
from embedmerge.retrieval.collection.splits import WHOLE

if TYPE_CHECKING:
    from pathlib import Path


def is_beir(path: Path) -> bool:
    """Whether the folder has a part of it at least, so that what is missing can be named."""
    named = ("corpus", "queries", "qrels")
    return (path / "qrels").is_dir() or any(
        first_of(path, name, QRELS if name == "qrels" else TABLES).is_file() for name in named
    )


def beir_splits(folder: Path) -> dict[str, Parts]:
    """Split -> its parts; one file of qrels beside the corpus is the split `all`."""
    corpus, queries = (first_of(folder, name, TABLES) for name in ("corpus", "queries"))
    return {
        split: Parts(
            (corpus,),
            (queries,),
            (qrels,),
            partial(text_rows, [corpus]),
            partial(text_rows, [queries]),
            partial(read_qrels, qrels),
        )
        for split, qrels in _qrels(folder).items()
    }


def _qrels(folder: Path) -> dict[str, Path]:
    names = {
        path.name.removesuffix(found)
        for path in (folder / "qrels").glob("*")
        if (found := ending(path, QRELS)) and not path.name.startswith(".")
    }
    if names:
        return {name: first_of(folder / "qrels", name, QRELS) for name in sorted(names)}
    alone = first_of(folder, "qrels", QRELS)
    return {WHOLE: alone} if alone.is_file() else {}
