"""Texts of the few words that the tiny checkpoints know."""

from __future__ import annotations

import numpy as np
from words import sentence

GUIDE = """---
title: not a heading
---

# Merge guide

how do i merge two models

## Average

average their weights tensor by the query

```python
# not a heading either
loop list map
```

## Search a bank

### Loan

court law judge contract
"""


def texts(count: int, seed: int = 0, prefix: str = "d") -> dict[str, str]:
    """Sentences by id."""
    random = np.random.default_rng(seed)
    return {f"{prefix}{number}": sentence(random, 12) for number in range(count)}
