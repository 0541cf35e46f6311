"""A setting that may differ from expert to expert."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from embedmerge.errors import EmbedmergeError, nearest
from embedmerge.merging.settings import EXPERT, as_setting

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from embedmerge.merging.settings import Setting, Settings


def of_expert(settings: Settings, name: str) -> Setting:
    """What an expert has: its own where it is named, else what all others have.

    >>> settings = {"expert legal": 0.3, "block 0": 0.1, "*": 0.2}
    >>> of_expert(settings, "legal"), of_expert(settings, "code")
    (0.3, {'block 0': 0.1, '*': 0.2})
    """
    own, others = _split(settings)
    setting: Setting = own.get(name, others)
    return setting


def together(settings: Mapping[str, Setting]) -> Settings:
    """Settings by the name of the expert as one: the same for all where they are equal.

    >>> together({"legal": 0.3, "code": 0.3}), together({"legal": 0.3, "code": 0.2})
    (0.3, {'expert legal': 0.3, 'expert code': 0.2})
    """
    first, *others = settings.values()
    if all(setting == first for setting in others):
        return first
    return {f"expert {name}": setting for name, setting in settings.items()}


def as_settings(value: Any, what: str) -> Settings:
    """Settings as the user wrote them, checked.

    Raises:
        EmbedmergeError: What stands under an expert, or what is left without them, is no setting.
    """
    own, others = _split(value)
    if not own:
        return as_setting(value, what)
    rest = as_setting(others, what) if others else {}
    assert isinstance(rest, dict)
    return {**{f"expert {name}": as_setting(own[name], f"{what}: expert {name}") for name in own}, **rest}


def experts_in(settings: Settings) -> tuple[str, ...]:
    """Names of the experts that have their own."""
    return tuple(_split(settings)[0])


def require_named(settings: Settings, experts: Sequence[str], what: str) -> None:
    """Refuse a setting for an expert that there is none of.

    Raises:
        EmbedmergeError: A name that is no expert's.
    """
    for name in experts_in(settings):
        if name not in experts:
            raise EmbedmergeError(f"{what}: no expert is named {name!r}; {nearest(name, experts)}")


def _split(settings: Any) -> tuple[dict[str, Any], Any]:
    """What stands under `expert NAME`, by name, and what is left."""
    if not isinstance(settings, dict):
        return {}, settings
    named = {selector: EXPERT.fullmatch(str(selector).strip()) for selector in settings}
    own = {match[1] or "": settings[selector] for selector, match in named.items() if match}
    return own, {selector: value for selector, value in settings.items() if not named[selector]}
