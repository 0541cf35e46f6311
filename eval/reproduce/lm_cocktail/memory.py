"""Encoders that know every text of the study already, so that hundreds of choices cost no encode."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from embedmerge.weighting.trial import Trials

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from embedmerge.mixture import Mixture
    from embedmerge.retrieval.encoder import Encoder
    from embedmerge.retrieval.settings import EncodingSettings
    from embedmerge.sources import Source

    Float32 = NDArray[np.float32]

Memory = dict[tuple[str, str], dict[str, "Float32"]]


class Remembering:
    """An encoder that asks its memory first.

    Args:
        encoder: What encodes a text that is not remembered.
        memory: (model, prompt) -> text -> pooled embedding.
    """

    def __init__(self, encoder: Encoder, memory: Memory) -> None:
        self.encoder = encoder
        self.model = encoder.model
        self._memory = memory

    def pooled(self, texts: Sequence[str], prompt: str = "") -> Float32:
        """As `Encoder.pooled`."""
        known = self._memory.setdefault((self.model.sha256, prompt), {})
        missing = [text for text in dict.fromkeys(texts) if text not in known]
        if missing:
            known.update(zip(missing, self.encoder.pooled(missing, prompt), strict=True))
        return np.stack([known[text] for text in texts])


class RememberingTrials(Trials):
    """Trials whose encoders share one memory."""

    memory: ClassVar[Memory] = {}

    def of_source(self, source: Source, settings: EncodingSettings | None = None) -> Encoder:
        """The encoder of a source."""
        return Remembering(super().of_source(source, settings), self.memory)  # type: ignore[return-value]

    @contextmanager
    def of_mixture(self, mixture: Mixture, name: str = "mixture") -> Iterator[Encoder]:
        """The encoder of a mixture."""
        with super().of_mixture(mixture, name) as encoder:
            yield Remembering(encoder, self.memory)  # type: ignore[misc]
