"""The few rows of the target domain that weights are chosen on."""

from __future__ import annotations

import hashlib
import json
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from embedmerge.errors import EmbedmergeError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


@dataclass(frozen=True)
class Example:
    """A row of a FlagEmbedding JSONL file.

    Attributes:
        query: The query.
        pos: Passages that answer it, at least one.
        neg: Passages that do not, possibly none.
    """

    query: str
    pos: tuple[str, ...]
    neg: tuple[str, ...] = ()


def load_examples(path: Path) -> list[Example]:
    """Read examples, a JSON object with `query`, `pos` and optionally `neg` on each line.

    Raises:
        EmbedmergeError: The file is missing or empty, or a row is not an example; names the line.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError as error:
        msg = f"{path}: no such examples file; give a JSONL file with query, pos and neg on each line"
        raise EmbedmergeError(msg) from error
    except (OSError, UnicodeDecodeError) as error:
        msg = f"{path}: cannot be read as UTF-8 text ({error})"
        raise EmbedmergeError(msg) from error
    examples = [_parse(line, f"{path}:{number}") for number, line in enumerate(lines, 1) if line.strip()]
    if not examples:
        msg = f"{path}: no examples in it; give at least one row with query, pos and neg"
        raise EmbedmergeError(msg)
    return examples


def _parse(line: str, where: str) -> Example:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise EmbedmergeError(f"{where}: not a JSON object ({error})") from error
    if not isinstance(row, dict):
        raise EmbedmergeError(f"{where}: not a JSON object with query, pos and neg")
    query = row.get("query")
    if not isinstance(query, str) or not query.strip():
        raise EmbedmergeError(f"{where}: `query` is missing or empty; it must be a text")
    pos = _passages(row, "pos", where)
    if not pos:
        raise EmbedmergeError(
            f"{where}: `pos` is missing or empty; it must be a list of at least one passage"
        )
    return Example(query, pos, _passages(row, "neg", where))


def _passages(row: dict[str, Any], key: str, where: str) -> tuple[str, ...]:
    passages = row.get(key) or []
    if isinstance(passages, str):
        raise EmbedmergeError(f"{where}: `{key}` is a bare string; make it a list, [{passages[:30]!r}]")
    if not isinstance(passages, list) or not all(isinstance(passage, str) for passage in passages):
        raise EmbedmergeError(f"{where}: `{key}` must be a list of texts")
    return tuple(passages)


def sample_negatives(examples: Sequence[Example], number: int, seed: int) -> list[Example]:
    """The same examples with `number` of their own negatives each.

    Draws as LM_Cocktail does, `random.sample` row after row, so that seeding Python's generator
    with `seed` makes both draw the same.

    Raises:
        EmbedmergeError: A row has fewer negatives than asked.
    """
    generator = random.Random(seed)
    sampled = []
    for row, example in enumerate(examples, 1):
        if len(example.neg) < number:
            msg = f"examples: row {row} has {len(example.neg)} negatives and {number} are asked; ask fewer"
            raise EmbedmergeError(msg)
        sampled.append(Example(example.query, example.pos, tuple(generator.sample(example.neg, number))))
    return sampled


def examples_sha256(examples: Sequence[Example]) -> str:
    """Digest over the content of the examples, whatever file they came from."""
    rows = json.dumps([[example.query, example.pos, example.neg] for example in examples])
    return hashlib.sha256(rows.encode()).hexdigest()
