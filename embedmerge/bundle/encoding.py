"""A corpus on its way into an index: cut, encoded, added."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from embedmerge.bundle.store import Encoded, PassageStore, write_lines

if TYPE_CHECKING:
    from pathlib import Path

    from embedmerge.bundle.intake import Intake
    from embedmerge.retrieval.encoder import Encoder
    from embedmerge.retrieval.index import VectorIndex


@dataclass(frozen=True)
class Arrivals:
    """Passages that have to be encoded, in a file.

    Attributes:
        passages: The passages.
        encoder: Of the bundle's model.
        prompt: Put before every passage.
        scratch: Folder for files that are not needed afterwards.
    """

    passages: PassageStore
    encoder: Encoder
    prompt: str
    scratch: Path

    @classmethod
    def of(cls, intake: Intake, encoder: Encoder, prompt: str, scratch: Path) -> Arrivals:
        """Go through a corpus and write down what it brings.

        Raises:
            EmbedmergeError: The corpus is damaged.
        """
        path = scratch / "passages.jsonl"
        write_lines(path, intake.lines())
        return cls(PassageStore(path), encoder, prompt, scratch)

    def add_to(self, index: VectorIndex) -> None:
        """Encode them and add them to an index; the vectors of one batch are in memory at a time.

        Raises:
            EmbedmergeError: The model gives NaN or infinity, or vectors of another dimension, or there are
                too few to train the index.
        """
        if not len(self.passages):
            return
        path = self.scratch / "vectors.npy"
        vectors = self.encoder.embed(Encoded(self.passages), self.prompt, out=path)
        index.add(vectors, [passage.id for passage in self.passages])
        path.unlink()
