"""What was left out of a corpus and why, file by file."""

from __future__ import annotations

SHOWN = 5


class Remarks:
    """Names by reason; each reason becomes one line.

    >>> remarks = Remarks("docs")
    >>> for name in ("a.png", "b.zip"):
    ...     remarks.add("files are neither text nor Markdown; left out", name)
    >>> remarks.lines
    ('docs: 2 files are neither text nor Markdown; left out (a.png, b.zip)',)

    Args:
        where: Name of the corpus.
    """

    def __init__(self, where: str) -> None:
        self._where = where
        self._names: dict[str, list[str]] = {}
        self._counts: dict[str, int] = {}
        self._notes: list[str] = []

    def add(self, reason: str, name: str) -> None:
        """Note one more; the first few are kept by name."""
        names = self._names.setdefault(reason, [])
        self._counts[reason] = self._counts.get(reason, 0) + 1
        if len(names) < SHOWN:
            names.append(name)

    def note(self, line: str) -> None:
        """Note what somebody else has counted."""
        self._notes.append(line)

    @property
    def lines(self) -> tuple[str, ...]:
        """One line for each reason, in the order in which they were met."""
        return (*(f"{self._where}: {self._line(reason)}" for reason in self._names), *self._notes)

    def _line(self, reason: str) -> str:
        names, count = self._names[reason], self._counts[reason]
        more = ", ..." if count > len(names) else ""
        return f"{count} {reason} ({', '.join(names)}{more})"
