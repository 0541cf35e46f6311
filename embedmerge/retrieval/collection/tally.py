"""Counts of what was found wrong in a collection and could be lived with."""

from __future__ import annotations

from collections import Counter


class Tally:
    """Counts faults by kind; each kind becomes one note.

    >>> tally = Tally("law:test")
    >>> tally.count("documents are empty")
    >>> tally.count("documents are empty", 2)
    >>> tally.notes
    ('law:test: 3 documents are empty',)

    Args:
        where: Collection and split.
    """

    def __init__(self, where: str) -> None:
        self.where = where
        self._counts: Counter[str] = Counter()

    def count(self, what: str, number: int = 1) -> None:
        """Note so many more of a kind."""
        self._counts[what] += number

    @property
    def notes(self) -> tuple[str, ...]:
        """One line for each kind, in the order in which they were met."""
        return tuple(f"{self.where}: {number} {what}" for what, number in self._counts.items() if number)
