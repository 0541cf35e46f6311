"""A TREC folder: topics, qrels and a corpus file.

Topics are `id <tab> text` on each line, or the classic form:

    <top>
    <num> Number: 301
    <title> international organized crime
    <desc> Description: ...
    </top>

of which the title is the query, or the description where there is no title. The corpus is JSONL with
`_id`, `title` and `text` or Anserini's `id` and `contents`, parquet, or `id <tab> text` or
`id <tab> title <tab> text` on each line.
"""

from __future__ import annotations

import re
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

from embedmerge.errors import EmbedmergeError
from embedmerge.retrieval.collection.columns import identifier, text_rows
from embedmerge.retrieval.collection.content import Parts, Row
from embedmerge.retrieval.collection.qrels import QRELS, read_qrels
from embedmerge.retrieval.collection.rows import TABLES, ending, first_of, lines
from embedmerge.retrieval.collection.splits import split_in

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TSV = (".tsv", ".tsv.gz")
TOPICS = (*TSV, ".txt", ".txt.gz", ".topics", ".topics.gz", ".trec", ".trec.gz")
TOPIC = re.compile(r"<top>(.*?)</top>", re.DOTALL | re.IGNORECASE)
# Field -> the word that old topics repeat at its beginning.
FIELDS = {"num": "Number", "title": "Topic", "desc": "Description"}


def is_trec(path: Path) -> bool:
    """Whether the folder has topics."""
    return bool(_files(path, "topics", TOPICS))


def trec_splits(folder: Path) -> dict[str, Parts]:
    """Split -> its parts; files belong together by the split in their names.

    Raises:
        EmbedmergeError: No file of topics fits a file of qrels.
    """
    topics, qrels = _files(folder, "topics", TOPICS), _files(folder, "qrels", QRELS)
    corpus = _corpus(folder)
    return {
        split: Parts(
            (corpus,),
            (asked := _fitting(split, topics, judged),),
            (judged,),
            partial(_documents, corpus),
            partial(_queries, asked),
            partial(read_qrels, judged),
        )
        for split, judged in qrels.items()
    }


def _files(folder: Path, part: str, endings: tuple[str, ...]) -> dict[str, Path]:
    """Split -> file, for `part/<split>.txt` and `part.<split>.txt`."""
    found = [*(folder / part).glob("*"), *folder.glob(f"{part}.*")]
    return {
        split_in(path.name.removesuffix(end).removeprefix(part)): path
        for path in sorted(found)
        if path.is_file() and (end := ending(path, endings))
    }


def _corpus(folder: Path) -> Path:
    known = (*TABLES, *TSV)
    collection = first_of(folder, "collection", known)  # as MS MARCO names it
    return collection if collection.is_file() else first_of(folder, "corpus", known)


def _fitting(split: str, topics: dict[str, Path], qrels: Path) -> Path:
    if split in topics:
        return topics[split]
    if len(topics) == 1:
        return next(iter(topics.values()))
    raise EmbedmergeError(f"{qrels}: no topics for {split!r} (there are: {', '.join(topics)}); rename a file")


def _documents(path: Path) -> Iterator[Row]:
    return _text_documents(path) if ending(path, TSV) else text_rows([path])


def _text_documents(path: Path) -> Iterator[Row]:
    for where, line in lines(path):
        identity, *texts = line.split("\t")
        if len(texts) not in (1, 2):
            raise EmbedmergeError(
                f"{where}: not an id and a text, or an id, a title and a text, between tabs"
            )
        yield Row(where, identifier(identity, where), texts[-1], texts[0] if len(texts) == 2 else "")


def _queries(path: Path) -> Iterator[Row]:
    first = next((line for _, line in islice(lines(path), 1)), "")
    return _classic(path) if first.lstrip().startswith("<") else _tabbed(path)


def _tabbed(path: Path) -> Iterator[Row]:
    for where, line in lines(path):
        identity, tab, text = line.partition("\t")
        if not tab:
            raise EmbedmergeError(f"{where}: neither an id and a query between tabs nor a <top> of TREC")
        yield Row(where, identifier(identity, where), text)


def _classic(path: Path) -> Iterator[Row]:
    topics = TOPIC.findall("\n".join(line for _, line in lines(path)))
    if not topics:
        raise EmbedmergeError(f"{path}: no <top> with </top> in it; topics are that, or an id <tab> a query")
    for number, topic in enumerate(topics, 1):
        where = f"{path}: topic {number}"
        found = {field: _field(topic, field, word) for field, word in FIELDS.items()}
        yield Row(where, identifier(found["num"], where), found["title"] or found["desc"])


def _field(topic: str, field: str, word: str) -> str:
    """What follows `<field>`, up to the next tag, on one line."""
    found = re.search(rf"<{field}>\s*(?:{word}:)?([^<]*)", topic, re.IGNORECASE)
    return " ".join(found.group(1).split()) if found else ""
