"""What of the data cannot be trained on: counted and left out, or refused where it is most of it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from embedmerge.errors import EmbedmergeError
from embedmerge.retrieval.collection.tally import Tally
from embedmerge.tuning.same_text import comparable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from embedmerge.tuning.rows import Row, TrainingData

# Above this share of rows that cannot be used, the file is more likely to be the wrong one.
MOST_UNUSABLE = 0.5


def usable(data: TrainingData) -> TrainingData:
    """Without empty texts, without positives that say what the query says, one row for each query.

    Raises:
        EmbedmergeError: Hardly a row is left.
    """
    tally = Tally(data.name)
    unusable: list[str] = []
    kept: dict[str, Row] = {}
    for row in data.rows:
        clean = _cleaned(row, tally)
        if not clean.query.strip() or not clean.pos:
            unusable.append(row.where)
            tally.count("rows have no query or no positive left; left out")
        elif clean.query in kept:
            kept[clean.query] = _joined(kept[clean.query], clean)
        else:
            kept[clean.query] = clean
    if len(kept) < 2 or len(unusable) > MOST_UNUSABLE * len(data.rows):
        why = "".join(f"; {note.removeprefix(f'{data.name}: ')}" for note in tally.notes)
        first = f", first at {unusable[0]}" if unusable else ""
        msg = (
            f"{data.name}: {len(kept)} of {len(data.rows)} rows can be trained on{first}{why}; mend the file"
        )
        raise EmbedmergeError(msg)
    return replace(data, rows=tuple(kept.values()), notes=(*data.notes, *tally.notes))


def _cleaned(row: Row, tally: Tally) -> Row:
    """A row's texts that can be trained on."""
    filled = [text for text in row.pos if text.strip()]
    tally.count("positives are empty; left out", len(row.pos) - len(filled))
    said = comparable(row.query)
    pos = [text for text in filled if comparable(text) != said]
    tally.count("queries are their own positive; it is left out", len(filled) - len(pos))
    neg = [text for text in row.neg if text.strip() and text not in pos]
    tally.count("negatives are empty or positives too; left out", len(row.neg) - len(neg))
    return replace(row, pos=tuple(pos), neg=tuple(neg))


def _joined(one: Row, other: Row) -> Row:
    """Two rows of the same query; what one calls a positive is nobody's negative."""
    pos = tuple(dict.fromkeys((*one.pos, *other.pos)))
    return replace(one, pos=pos, neg=_without((*one.neg, *other.neg), pos))


def _without(texts: Iterable[str], others: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(text for text in dict.fromkeys(texts) if text not in others)
