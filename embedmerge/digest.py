"""The one digest of plain values, by which everything that is kept is keyed."""

from __future__ import annotations

import hashlib
import json
from typing import Any


def content_digest(content: Any) -> str:
    """sha256 over plain values as JSON; the order of a mapping's keys does not count.

    >>> content_digest({"a": 1, "b": [2]}) == content_digest({"b": [2], "a": 1})
    True
    """
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
