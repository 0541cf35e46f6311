"""The one error a user is meant to read."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class EmbedmergeError(Exception):
    """Bad input: one line that says what is wrong, where, and what to do.

    The command line prints it without a traceback and exits with code 2.
    """


def nearest(name: str, known: Iterable[str]) -> str:
    """What a message says of a name that does not exist: the nearest one that does, else all of them.

    >>> nearest("densty", ["density", "scope"]), nearest("x", ["density", "scope"])
    ("did you mean 'density'?", 'there are: density, scope')
    """
    names = list(known)
    near = difflib.get_close_matches(name, names, n=1)
    return f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(names) or 'none'}"
