"""How a module stack turns token vectors into one: read from its files, or stated by the user."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from embedmerge.errors import EmbedmergeError

POOLING_BOOLEANS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
MODES = tuple(POOLING_BOOLEANS.values())


@dataclass(frozen=True)
class StatedPooling:
    """What the user says of a folder that does not say it itself.

    Attributes:
        mode: One of `MODES`.
        normalise: Whether vectors are scaled to length one after pooling.

    Raises:
        EmbedmergeError: There is no such mode.
    """

    mode: str
    normalise: bool | None = None

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            msg = f"pooling {self.mode}: no such pooling (there are: {', '.join(MODES)})"
            raise EmbedmergeError(msg)

    def require_same(self, name: str, mode: str | None, normalises: bool) -> None:
        """Refuse to overrule what a folder says itself.

        Raises:
            EmbedmergeError: It says otherwise.
        """
        rows = (("pooling", self.mode, mode), ("normalise", self.normalise, normalises))
        for what, wanted, found in rows:
            if wanted not in (None, found):
                msg = f"{name}: {what} {_shown(wanted)} is asked for, its own files say {_shown(found)}"
                raise EmbedmergeError(f"{msg}; remove `{what}`")


def pooling_mode(config: dict[str, Any]) -> str | None:
    """The mode in a pooling module's config, old or new, several joined by `+`; None where it has none.

    >>> pooling_mode({"pooling_mode_cls_token": True}), pooling_mode({"pooling_mode": ["cls", "mean"]})
    ('cls', 'cls+mean')
    """
    stated = config.get("pooling_mode")
    if isinstance(stated, str):
        return stated
    if isinstance(stated, list):
        return "+".join(str(mode) for mode in stated)
    return "+".join(mode for key, mode in POOLING_BOOLEANS.items() if config.get(key)) or None


def _shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
