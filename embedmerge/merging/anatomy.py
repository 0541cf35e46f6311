"""Where in an encoder a tensor sits, told from its name and shape."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal

Kind = Literal["linear", "embedding", "vector", "other"]

BLOCK = re.compile(r"(?:^|\.)(?:layers?|h|blocks?)\.(\d+)\.")
# 2-D, but a lookup: rows are tokens, positions or distances, not outputs.
LOOKUP = re.compile(
    r"(?:^|\.)(?:\w*embeddings?|embed_tokens|tok_embeddings|wte|wpe|shared|relative_attention_bias)\."
)
BEFORE_BLOCKS = re.compile(
    r"(?:^|\.)(?:\w*embeddings?|embed_tokens|embeddings_project|wte|wpe|shared|emb_ln)\."
)


@dataclass(frozen=True)
class Site:
    """A tensor's place in the model.

    Attributes:
        name: Name without prefixes.
        shape: Dimensions.
        blocks: Number of transformer blocks of the model.
        block: Block the tensor is in, from 0; None outside of them.
        head: Whether it belongs to a module behind the transformer, such as a Dense head.
    """

    name: str
    shape: tuple[int, ...]
    blocks: int = 0
    block: int | None = None
    head: bool = False

    @classmethod
    def of(cls, name: str, shape: tuple[int, ...], blocks: int = 0, *, head: bool = False) -> Site:
        """The place a name tells.

        >>> Site.of("encoder.layer.3.output.dense.weight", (4, 4), 12).block
        3
        >>> Site.of("embeddings.word_embeddings.weight", (9, 4), 12).kind
        'embedding'
        """
        found = None if head else BLOCK.search(name)
        return cls(name, shape, blocks, int(found[1]) if found else None, head)

    @property
    def elements(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def kind(self) -> Kind:
        """`linear` for a Linear's weight, `embedding` for a lookup table, `vector` for a bias or a norm."""
        if len(self.shape) == 2:
            return "embedding" if LOOKUP.search(self.name) and not self.head else "linear"
        return "vector" if len(self.shape) < 2 else "other"

    @property
    def depth(self) -> float:
        """From 0 at the embeddings and the first block to 1 at the last block and behind it."""
        if self.block is not None:
            return self.block / (self.blocks - 1) if self.blocks > 1 else 1.0
        return 0.0 if BEFORE_BLOCKS.search(self.name) and not self.head else 1.0
