"""Text that every encoding knows."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def well_formed(text: str) -> str:
    r"""The text with half surrogate pairs, which JSON allows and tokenizers refuse, replaced.

    >>> well_formed("half a pair: \ud83d"), well_formed("a whole one: \ud83d\ude00")
    ('half a pair: �', 'a whole one: 😀')
    """
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def all_well_formed(texts: Iterable[str]) -> list[str]:
    """Texts as tokenizers take them; see `well_formed`."""
    return [well_formed(text) for text in texts]
