"""How many texts were encoded, by one encoder and by all of this process."""

from __future__ import annotations

from dataclasses import dataclass, field
from threading import Lock


@dataclass
class Counts:
    """What was done; safe to add to from several threads.

    >>> counts = Counts()
    >>> counts.add(3, 1)
    >>> counts.encoded, counts.hits
    (3, 1)

    Attributes:
        encoded: Texts computed.
        hits: Texts found in the cache, or met shortly before in the same request.
    """

    encoded: int = 0
    hits: int = 0
    _lock: Lock = field(default_factory=Lock, init=False, repr=False, compare=False)

    def add(self, encoded: int, hits: int) -> None:
        """Count further texts."""
        with self._lock:
            self.encoded += encoded
            self.hits += hits


OF_PROCESS = Counts()
