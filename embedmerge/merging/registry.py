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
def names() -> tuple[str, ...]:
    """Names of all methods, which are those of the modules of `methods/`."""
    return tuple(sorted(found.name for found in iter_modules(folder.__path__)))


def methods() -> dict[str, MethodSpec]:
    """All methods by name: every module has its `SPEC`.

    >>> "linear" in methods(), "ties" in methods()
    (True, True)
    """
    return {name: method(name) for name in names()}


def affine_methods() -> str:
    """Names of the methods whose result is a weighted sum of what each source gives by itself, in words.

    >>> affine_methods()
    'breadcrumbs, dare_linear, iso_linear, linear or task_arithmetic'
    """
    *first, last = (name for name, spec in methods().items() if spec.affine)
    return f"{', '.join(first)} or {last}"


@cache
def method(name: str) -> MethodSpec:
    """A method by name; the other methods' modules are not imported.

    Raises:
        EmbedmergeError: There is none of that name.
    """
    if name not in names():
        raise EmbedmergeError(f"method {name!r}: no such merging method; {nearest(name, names())}")
    spec: MethodSpec = import_module(f"{folder.__name__}.{name}").SPEC
    return spec
