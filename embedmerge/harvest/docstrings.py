"""Docstrings of an installed library, read from its source files.

Source is parsed, never imported. Importing every submodule of torch or transformers takes minutes, starts
optional back ends, prints warnings and gives another list on every machine; parsing six large libraries takes
about eighteen CPU seconds, runs no foreign code and depends on the files alone. What it would miss are
objects written in C, and their libraries keep those docstrings as literals in calls such as
`add_docstr(torch.abs, ...)` or `add_newdoc('numpy', 'dot', ...)`, which are read too.
"""

from __future__ import annotations

import ast
import gc
import importlib.util
import re
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from embedmerge.errors import EmbedmergeError
from embedmerge.harvest.duplicates import distinct
from embedmerge.harvest.text import Docstring, read_docstring

if TYPE_CHECKING:
    from collections.abc import Iterator

_FOREIGN_FOLDERS = frozenset(
    {"tests", "test", "testing", "_testing", "externals", "extern", "vendor", "_vendor", "third_party", "src"}
)
# `modular_*` are the templates that transformers generates `modeling_*` from, so every text is there twice.
_FOREIGN_FILES = re.compile(r"^(?:test_|testing|conftest|setup|convert_|modular_|__main__)")
# A private top-level folder holds internals, but for `_core`: there libraries define what the top exports.
_PUBLIC_PRIVATE = "_core"
_DOC_CALL = re.compile(r"^_?add_(?:newdoc|docstr)")
_FORMAT_FIELD = re.compile(r"(?<!\{)\{\w*\}(?!\})")

_Found = tuple[str, str]


def harvest_library(name: str, *, characters: int = 1000) -> list[Docstring]:
    """Collect the public docstrings of an installed library as queries and documents.

    Args:
        name: Import name of a top-level package or module.
        characters: Longest document to keep.

    Returns:
        Pairs in order of their qualified name, without duplicates and near-duplicates.

    Raises:
        EmbedmergeError: The library is not installed, or its source is not there to read.
    """
    pairs: dict[str, Docstring] = {}
    with _undisturbed():
        for module, file in _source_files(name):
            for qualified, raw in _docstrings(module, file.read_bytes()):
                pair = read_docstring(qualified, raw, characters)
                if pair is not None:
                    pairs.setdefault(qualified, pair)
    return distinct([pairs[key] for key in sorted(pairs)])


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Silence what foreign source warns of; pause the collector, which trees of a million nodes keep busy."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        if collecting:
            gc.enable()


def _source_files(name: str) -> list[tuple[str, Path]]:
    """The library's modules and their files, in a fixed order, without tests and vendored code."""
    if not name.isidentifier():
        msg = f"{name!r}: not the import name of a top-level package"
        raise EmbedmergeError(msg)
    spec = importlib.util.find_spec(name)
    if spec is None:
        msg = f"{name}: this library is not installed, so there are no docstrings to harvest; install it"
        raise EmbedmergeError(msg)
    roots = [Path(place) for place in spec.submodule_search_locations or ()]
    files = [
        (_module_name(name, path.relative_to(root)), path) for root in roots for path in root.rglob("*.py")
    ]
    files = [(module, path) for module, path in files if _is_public(module.split(".")[1:], path.name)]
    if not roots and spec.origin is not None and spec.origin.endswith(".py"):
        files = [(name, Path(spec.origin))]
    if not files:
        msg = f"{name}: no Python source to read docstrings from"
        raise EmbedmergeError(msg)
    return sorted(files)


def _module_name(package: str, relative: Path) -> str:
    parts = relative.with_suffix("").parts
    return ".".join((package, *(parts[:-1] if parts[-1] == "__init__" else parts)))


def _is_public(parts: list[str], filename: str) -> bool:
    folders = parts if filename == "__init__.py" else parts[:-1]
    if _FOREIGN_FILES.match(filename) or _FOREIGN_FOLDERS.intersection(folders):
        return False
    return not (folders and folders[0].startswith("_") and folders[0] != _PUBLIC_PRIVATE)


def _docstrings(module: str, source: bytes) -> list[_Found]:
    if b'"""' not in source and b"'''" not in source:
        return []
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return []
    found = list(_of_body(module, tree.body))
    own = ast.get_docstring(tree, clean=False)
    if own is not None and not module.rpartition(".")[2].startswith("_"):
        found.append((module, own))
    return found


def _of_body(prefix: str, body: list[ast.stmt]) -> Iterator[_Found]:
    """Definitions and documentation calls of a module or class; what functions hold is not public."""
    for statement in body:
        if isinstance(statement, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _of_definition(prefix, statement)
        elif isinstance(statement, ast.If):
            yield from _of_body(prefix, statement.body + statement.orelse)
        elif isinstance(statement, ast.Try):
            yield from _of_body(prefix, statement.body)
        elif isinstance(statement, ast.Expr | ast.Assign | ast.AnnAssign) and isinstance(
            statement.value, ast.Call
        ):
            yield from _of_call(prefix, statement.value)


def _of_definition(
    prefix: str, node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
) -> Iterator[_Found]:
    if node.name.startswith("_"):
        return
    name = f"{prefix}.{node.name}"
    raw = ast.get_docstring(node, clean=False)
    if raw is not None:
        yield name, raw
    if isinstance(node, ast.ClassDef):
        yield from _of_body(name, node.body)


def _of_call(prefix: str, call: ast.Call) -> Iterator[_Found]:
    function = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    if not _DOC_CALL.match(function) or len(call.args) < 2:
        return
    *owners, last = call.args
    if isinstance(last, ast.Tuple) and len(last.elts) == 2:
        owners, last = [*owners, last.elts[0]], last.elts[1]
    raw = _text(last)
    names = [_text(owner) or ast.unparse(owner) for owner in owners]
    if raw is None or names[-1].rpartition(".")[2].startswith("_"):
        return
    qualified = ".".join(names)
    yield (
        (qualified if qualified.startswith(prefix.partition(".")[0] + ".") else f"{prefix}.{qualified}"),
        raw,
    )


def _text(node: ast.expr) -> str | None:
    """The string an expression spells out, without its `str.format` fields: their values are elsewhere."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        left, right = _text(node.left), _text(node.right)
        return left + (right or "") if left is not None else right
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "format":
        template = _text(node.func.value)
        return template and _FORMAT_FIELD.sub("", template).replace("{{", "{").replace("}}", "}")
    return None
