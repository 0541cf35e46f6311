"""Strategies whose mixtures are averages, with no weight below 0 or above 1."""

from __future__ import annotations

from pydantic import field_validator

from embedmerge.errors import EmbedmergeError
from embedmerge.weighting.guarded import Guarded

WHOLE = (0.0, 1.0)


class Averaging(Guarded):
    """A guarded strategy that only averages."""

    @field_validator("bounds")
    @classmethod
    def _only_averages(cls, bounds: tuple[float, float]) -> tuple[float, float]:
        if bounds != WHOLE:
            msg = (
                f"bounds: {bounds[0]:g} to {bounds[1]:g}; this strategy averages, with weights from 0 to 1; "
                "leave bounds out, or choose by front"
            )
            raise EmbedmergeError(msg)
        return bounds
