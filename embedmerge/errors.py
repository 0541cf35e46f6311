"""The one error a user is meant to read."""

from __future__ import annotations


class EmbedmergeError(Exception):
    """Bad input: one line that says what is wrong, where, and what to do.

    The command line prints it without a traceback and exits with code 2.
    """
