"""What a pass over text gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy as np
    from numpy.typing import NDArray

    Names = tuple[str, ...]


@dataclass(frozen=True)
class Gathered:
    """Statistics of one source.

    Attributes:
        shapes: Names of the tensors that an array is for -> its shape. Linears with one input share one.
        arrays: The arrays in the same order; may be made while they are read, and read once.
    """

    shapes: dict[Names, tuple[int, ...]]
    arrays: Iterable[NDArray[np.float32]]
