"""Which split a file holds, by its name."""

from __future__ import annotations

import re

SPLITS = ("test", "dev", "validation", "train")  # the first there is stands for a collection
WHOLE = "all"  # where nothing tells splits apart


def is_test(split: str) -> bool:
    """Whether a split or file stands for a test, by its name.

    >>> is_test("test"), is_test("law-test_2"), is_test("latest")
    (True, True, False)
    """
    return "test" in re.split(r"[^a-z]+", split.lower())


def split_in(stem: str) -> str:
    """The last of a name's words that is a split.

    >>> split_in("beir-v1.0.0-scifact.test"), split_in("law-dev"), split_in("law")
    ('test', 'dev', 'all')
    """
    words = re.split(r"[^a-z]+", stem.lower())
    return next((word for word in reversed(words) if word in SPLITS), WHOLE)
