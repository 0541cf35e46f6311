"""Whether torch can compute on a device here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from embedmerge.errors import EmbedmergeError

if TYPE_CHECKING:
    from collections.abc import Iterable


def require_devices(names: Iterable[str]) -> None:
    """Refuse what torch does not know, or has no way to here.

    >>> require_devices(["cpu"])

    Args:
        names: As torch names them, such as `cuda:1`.

    Raises:
        EmbedmergeError: Names the device and says why.
    """
    import torch

    for name in names:
        try:
            torch.zeros(1, device=name).item()
        except (RuntimeError, AssertionError) as error:
            reason = str(error).strip().partition("\n")[0].partition(". ")[0]
            raise EmbedmergeError(f"device {name}: cannot be used here ({reason})") from error
