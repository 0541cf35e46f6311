"""Which split a file holds, by its name."""

from __future__ import annotations

import re

SPLITS = ("test", "dev", "validation", "train")  # the first there is stands for a collection
WHOLE = "all"  # where nothing tells splits apart


def split_in(stem: str) -> str:
    """The last of a name's words that is a split.

    >>> split_in("beir-v1.0.0-scifact.test"), split_in("law-dev"), split_in("law")
    ('test', 'dev', 'all')
    """
    words = re.split(r"[^a-z]+", stem.lower())
    return next((word for word in reversed(words) if word in SPLITS), WHOLE)
