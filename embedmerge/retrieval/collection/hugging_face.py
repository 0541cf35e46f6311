"""A Hugging Face dataset folder in mteb's form: corpus, queries and qrels as configurations or folders.

The README's YAML says which files make a configuration, as on the hub: `corpus`, `queries`, and `default`
or `qrels`; `top_ranked` holds candidate lists. Where there are several languages every name begins with
one, as in `de-corpus`. Without such a README the folders `corpus/`, `queries/` and `qrels/` stand for them.
"""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import yaml

from embedmerge.errors import EmbedmergeError
from embedmerge.retrieval.collection.columns import candidate_rows, judgement_rows, text_rows
from embedmerge.retrieval.collection.content import Parts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

QRELS = ("qrels", "default")
Files = dict[str, tuple[Path, ...]]  # split -> files


class _Tables(NamedTuple):
    """The tables of one language."""

    corpus: Files
    queries: Files
    qrels: Files
    candidates: Files


def is_hugging_face(path: Path) -> bool:
    """Whether the README names a corpus, or there is a folder of that name."""
    return bool(_prefixes(_configurations(path))) or (
        (path / "corpus").is_dir() and not _configurations(path)
    )


def hugging_face_splits(folder: Path) -> dict[str, Parts]:
    """Split -> its parts; where there are several languages, `<language>-<split>`.

    Raises:
        EmbedmergeError: A table is missing, or has neither the split nor only one.
    """
    found = {}
    for prefix in _prefixes(_configurations(folder)) or [""]:
        tables = _tables(folder, prefix)
        for split in tables.qrels:
            found[f"{prefix}{split}"] = _parts(folder, split, tables)
    return found


def _parts(folder: Path, split: str, tables: _Tables) -> Parts:
    corpus, queries = (_of_split(folder, name, split, tables) for name in ("corpus", "queries"))
    candidates = tables.candidates.get(split)
    return Parts(
        corpus,
        queries,
        tables.qrels[split],
        partial(text_rows, corpus),
        partial(text_rows, queries),
        partial(judgement_rows, tables.qrels[split]),
        partial(candidate_rows, candidates) if candidates else None,
    )


def _of_split(folder: Path, name: str, split: str, tables: _Tables) -> tuple[Path, ...]:
    """The files of the split, or of the only one there is, as mteb takes them."""
    files: Files = getattr(tables, name)
    if split in files:
        return files[split]
    if len(files) == 1:
        return next(iter(files.values()))
    msg = f"{folder}: its {name} have no split {split!r} (there are: {', '.join(files) or 'none'})"
    raise EmbedmergeError(msg)


def _configurations(folder: Path) -> list[str]:
    """Names in the README's YAML, none where there is no such README."""
    try:
        _, card, _ = (folder / "README.md").read_text(encoding="utf-8").split("---", 2)
        return [str(each["config_name"]) for each in yaml.safe_load(card)["configs"]]
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
        return []


def _prefixes(configurations: Sequence[str]) -> list[str]:
    """What stands before `corpus`: nothing, or a language with a hyphen."""
    ends = [name.removesuffix("corpus") for name in configurations if name.endswith("corpus")]
    return [prefix for prefix in ends if not prefix or prefix.endswith("-")]


def _tables(folder: Path, prefix: str) -> _Tables:
    configurations = _configurations(folder)
    if not configurations:
        names = ("corpus", "queries", "qrels")
        corpus, queries, qrels = (
            _files(folder / name, None) if (folder / name).is_dir() else {} for name in names
        )
        return _Tables(corpus, queries, qrels, {})
    plain = ["qrels"] if prefix else list(QRELS)
    judged = next((name for name in (f"{prefix}{each}" for each in plain) if name in configurations), None)
    found = {
        name: _files(folder, f"{prefix}{name}")
        for name in ("corpus", "queries", "top_ranked")
        if f"{prefix}{name}" in configurations
    }
    return _Tables(
        found["corpus"],
        found.get("queries", {}),
        _files(folder, judged) if judged else {},
        found.get("top_ranked", {}),
    )


def _files(folder: Path, configuration: str | None) -> Files:
    """Split -> files, found as `datasets` finds them.

    Raises:
        EmbedmergeError: There are none.
    """
    from datasets import load_dataset_builder
    from datasets.exceptions import DatasetsError

    try:
        with tempfile.TemporaryDirectory() as scratch:  # a lock is put there, and nothing else
            builder = load_dataset_builder(str(folder), configuration, cache_dir=scratch)
    except (DatasetsError, OSError, ValueError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise EmbedmergeError(f"{folder}: no data files that `datasets` can read ({reason})") from error
    named: Mapping[str, list[str]] = builder.config.data_files or {}
    files = {str(split): tuple(Path(file) for file in found) for split, found in named.items() if found}
    if not files:
        msg = f"{folder}: its configuration {configuration!r} names no file that is there; bring it again"
        raise EmbedmergeError(msg)
    return files
