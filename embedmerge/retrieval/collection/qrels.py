"""Judgements in every form the field has: BEIR's and TREC's text, and tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from embedmerge.errors import EmbedmergeError
from embedmerge.retrieval.collection.columns import grade, identifier, judgement_rows
from embedmerge.retrieval.collection.content import Judgement
from embedmerge.retrieval.collection.rows import TABLES, ending, lines

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TEXTS = (".tsv", ".tsv.gz", ".txt", ".txt.gz", ".qrels", ".qrels.gz", ".trec", ".trec.gz")
QRELS = (".tsv", ".tsv.gz", *TABLES, *TEXTS[2:])
HEADERS = frozenset({"score", "grade", "relevance", "rel", "label"})


def read_qrels(path: Path) -> Iterator[Judgement]:
    """Judgements of one file.

    A text file has query, document and grade between tabs, with or without a header line, or TREC's
    four columns `query iteration document grade` between tabs or blanks.

    Raises:
        EmbedmergeError: The file is missing or damaged, or a line is not of that form.
    """
    return judgement_rows([path]) if ending(path, TABLES) else _read_text(path)


def _read_text(path: Path) -> Iterator[Judgement]:
    for number, (where, line) in enumerate(lines(path)):
        fields = line.split("\t") if "\t" in line else line.split()
        if number == 0 and fields[-1].strip().lower() in HEADERS:
            continue
        if "\t" in line and len(fields) == 2:  # the grade is missing with its tab
            fields = [*fields, ""]
        if len(fields) not in (3, 4):
            msg = f"{where}: not query-id, corpus-id and score between tabs, nor TREC's four columns"
            raise EmbedmergeError(msg)
        query, document, score = fields[0], fields[-2], fields[-1].strip()
        yield Judgement(where, identifier(query, where), identifier(document, where), grade(score, where))
