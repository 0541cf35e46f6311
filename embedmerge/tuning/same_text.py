"""When two texts are the same to a reader, and training queries that a test asks too."""

from __future__ import annotations

import unicodedata
from dataclasses import replace
from typing import TYPE_CHECKING

from embedmerge.errors import EmbedmergeError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from embedmerge.tuning.rows import Row, TrainingData
    from embedmerge.tuning.settings import Leakage


def comparable(text: str) -> str:
    """Letters and digits alone, case folded; the text itself where it has none.

    >>> comparable("What is a  Merger?") == comparable("what is a merger")
    True
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    return "".join(character for character in folded if character.isalnum()) or text


def without_leaks(
    data: TrainingData, tested: Mapping[str, Iterable[str]], leakage: Leakage
) -> tuple[TrainingData, dict[str, int]]:
    """Training data, and how many of its queries each test collection asks too.

    Args:
        data: Rows to tune on.
        tested: Queries by the name of what they test.
        leakage: `refuse` them, `drop` them, or `allow` them.

    Raises:
        EmbedmergeError: There are some and they are refused, or hardly a row is left.
    """
    found = {name: _both(data.rows, queries) for name, queries in tested.items()}
    counts = {name: len(both) for name, both in found.items() if both}
    if not counts or leakage == "allow":
        return data, counts
    if leakage == "refuse":
        raise EmbedmergeError(_refusal(data.name, {name: both for name, both in found.items() if both}))
    leaked = {said for both in found.values() for said in both}
    rows = tuple(row for row in data.rows if comparable(row.query) not in leaked)
    if len(rows) < 2:
        raise EmbedmergeError(f"{data.name}: {len(rows)} rows are left that no test asks too; add others")
    return replace(data, rows=rows), counts


def _both(rows: Iterable[Row], queries: Iterable[str]) -> dict[str, str]:
    asked = {comparable(query) for query in queries}
    said = {comparable(row.query): row.query for row in rows}
    return {key: query for key, query in said.items() if key in asked}


def _refusal(name: str, found: Mapping[str, Mapping[str, str]]) -> str:
    counted = ", ".join(f"{len(both)} in {test}" for test, both in found.items())
    example = next(iter(next(iter(found.values())).values()))
    return (
        f"{name}: training queries are asked in a test too: {counted}, such as {example[:60]!r}; "
        "say --leakage drop to leave them out of tuning, or --leakage allow to tune on them"
    )
