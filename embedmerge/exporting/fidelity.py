"""Whether an exported file gives the vectors that the model gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from embedmerge.errors import EmbedmergeError
from embedmerge.retrieval.probe import Agreement, probe_texts
from embedmerge.retrieval.vectors import normalised

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from embedmerge.retrieval.encoder import Encoder

# Lowest cosine of a text's two vectors. Rounding alone leaves float32 above 0.999999; a graph that pads
# wrongly ends below 0.9.
LOWEST = {"fp32": 0.99999, "int8": 0.9}
CHECKED = slice(1, None, 2)
CALIBRATED = slice(0, None, 2)


@dataclass(frozen=True)
class Fidelity:
    """How far an export moves a model's vectors, on texts that come with embedmerge.

    Attributes:
        cosine: Lowest cosine between a text's vector from the export and from the model.
        mean_cosine: Mean of the same.
        noise: What similarities move by, as a share of the spread of a query's similarities.
    """

    cosine: float
    mean_cosine: float
    noise: float | None

    @classmethod
    def of(cls, exported: Encoder, model: Encoder) -> Fidelity:
        """Compare on every second query and passage of the bundled ones; the others are for calibration.

        Args:
            exported: Encodes through the exported file.
            model: Encodes with torch.

        Raises:
            EmbedmergeError: One of them gives NaN or infinity.
        """
        found, wanted = (normalised(_vectors(encoder)) for encoder in (exported, model))
        cosines = (found * wanted).sum(axis=1, dtype=np.float64)
        noise = Agreement.of(wanted, found).noise
        return cls(round(float(cosines.min()), 7), round(float(cosines.mean()), 7), noise)

    def require(self, precision: str) -> None:
        """Refuse an export that is another model.

        Raises:
            EmbedmergeError: The lowest cosine is too low.
        """
        if self.cosine < LOWEST[precision]:
            msg = f"the exported file is off: a text's vector has cosine {self.cosine:.4f} to the model's, "
            raise EmbedmergeError(
                f"{msg}at least {LOWEST[precision]} is wanted of {precision}; nothing was kept"
            )


def _vectors(encoder: Encoder) -> NDArray[np.float32]:
    queries, passages = probe_texts()
    texts = {"query": queries[CHECKED], "document": passages[CHECKED]}
    return np.concatenate(
        [encoder.embed(some, encoder.model.prompt(kind)) for kind, some in texts.items()]  # type: ignore[arg-type]
    )


def calibration_batches(encoder: Encoder) -> list[dict[str, NDArray[np.int64]]]:
    """Features of bundled texts that no check uses, one batch per few texts of like length."""
    from embedmerge.retrieval.batching import tokenised_batches

    queries, passages = probe_texts()
    batches = []
    for kind, texts in (("query", queries[CALIBRATED]), ("document", passages[CALIBRATED])):
        prompt = encoder.model.prompt(kind)  # type: ignore[arg-type]
        for batch in tokenised_batches(encoder.module_stack(), texts, prompt, 256):
            batches.append(
                {name: ids.numpy() for name, ids in batch.features.items() if hasattr(ids, "numpy")}
            )
    return batches
