"""A model of weights alone in the module stack of another.

What FlagEmbedding and plain transformers training leave behind says nothing of pooling, prompts or
normalisation. An expert that was tuned from the base is used as the base is.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from embedmerge.checkpoint.layout import Checkpoint
from embedmerge.checkpoint.lineage import files_sha256

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class DressedCheckpoint(Checkpoint):
    """An expert's weights in the donor's modules, tokenizer and prompts.

    Attributes:
        donor: Whose they are.
    """

    donor: Checkpoint

    @property
    def folder(self) -> Path:
        """The folder that holds modules, tokenizer and prompts."""
        return self.donor.folder

    @cached_property
    def digests(self) -> dict[str, str]:
        """sha256 of the expert's weights by place below its folder, and of the donor's module files."""
        own = files_sha256(self.location.folder, self.weight_files())
        return {**files_sha256(self.donor.folder, self.donor.module_files()), **own}


def dressed_as(checkpoint: Checkpoint, donor: Checkpoint) -> DressedCheckpoint:
    """The weights of one in the module stack of the other; both have passed the gate together."""
    encoder = checkpoint.tensors[checkpoint.transformer.path]
    return DressedCheckpoint(
        name=checkpoint.name,
        location=checkpoint.location,
        layout=checkpoint.layout,
        modules=donor.modules,
        tensors={donor.transformer.path: encoder},
        heads=checkpoint.heads,
        left_out=checkpoint.left_out,
        donor=donor,
    )
