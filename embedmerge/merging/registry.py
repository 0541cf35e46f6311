"""All merging methods by name."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING

from embedmerge.errors import EmbedmergeError, nearest
from embedmerge.merging import methods as folder

if TYPE_CHECKING:
    from embedmerge.merging.spec import MethodSpec


@cache
def methods() -> dict[str, MethodSpec]:
    """All methods by name: every module of `methods/` has its `SPEC`.

    >>> "linear" in methods(), "ties" in methods()
    (True, True)
    """
    modules = sorted(found.name for found in iter_modules(folder.__path__))
    specs = [import_module(f"{folder.__name__}.{name}").SPEC for name in modules]
    return {spec.name: spec for spec in specs}


def method(name: str) -> MethodSpec:
    """A method by name.

    Raises:
        EmbedmergeError: There is none of that name.
    """
    known = methods()
    if name not in known:
        raise EmbedmergeError(f"method {name!r}: no such merging method; {nearest(name, sorted(known))}")
    return known[name]
