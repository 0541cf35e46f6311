"""The unlabelled texts that statistics are gathered from."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from embedmerge.digest import content_digest
from embedmerge.errors import EmbedmergeError
from embedmerge.sampling import drawn

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from embedmerge.merging.spec import MethodSpec
    from embedmerge.merging.streaming import Arithmetic
    from embedmerge.retrieval.settings import Kind

FEWEST = 8


@dataclass(frozen=True)
class Text:
    """A text as the models will meet it.

    Attributes:
        content: The text.
        kind: Which of a model's prompts goes before it.
    """

    content: str
    kind: Kind = "document"


def require_fitting(spec: MethodSpec, text: object) -> None:
    """Refuse a method that needs text and has none, and text for a method that has no use for it.

    Args:
        spec: The method.
        text: What the user gave, None for nothing.

    Raises:
        EmbedmergeError: One is missing.
    """
    if spec.statistics and text is None:
        msg = (
            f"method {spec.name}: needs unlabelled text, a .txt file of one text on each line or a .jsonl "
            "file; give it as --text, or as `text` beside the method's name in a recipe"
        )
        raise EmbedmergeError(msg)
    if text is not None and not spec.statistics:
        raise EmbedmergeError(f"method {spec.name}: has no use for text; leave {text} out")


def texts_for(arithmetic: Arithmetic, file: Path | None) -> list[Text]:
    """The texts that a method is to read, none where it needs none.

    Raises:
        EmbedmergeError: As `require_fitting` and `load_texts`.
    """
    require_fitting(arithmetic.spec, file)
    if file is None:
        return []
    return load_texts(file, int(arithmetic.parameters["examples"]), int(arithmetic.parameters["seed"]))


def load_texts(path: Path, number: int, seed: int) -> list[Text]:
    """Some of the texts of a file, in its order; a text that occurs twice counts once.

    Args:
        path: A `.txt` file of one text on each line, or a `.jsonl` file of objects with `text`, or with
            `query` and `pos` as in examples.
        number: How many at most.
        seed: Of the choice where there are more.

    Raises:
        EmbedmergeError: The file is missing, is of another kind, or holds fewer than eight texts.
    """
    parse = {".txt": _lines, ".jsonl": _rows}.get(path.suffix)
    if parse is None:
        raise EmbedmergeError(f"{path}: text must be in a .txt file, one on each line, or in a .jsonl file")
    texts = list(dict.fromkeys(text for text in parse(path) if text.content.strip()))
    if len(texts) < FEWEST:
        msg = f"{path}: {len(texts)} different texts in it; give at least {FEWEST}, better some hundred"
        raise EmbedmergeError(msg)
    return [texts[row] for row in drawn(len(texts), number, seed)]


def texts_sha256(texts: Sequence[Text]) -> str:
    """Digest over the texts, whatever file they came from."""
    return content_digest([[text.kind, text.content] for text in texts])


def _read_lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").split("\n")
    except FileNotFoundError as error:
        raise EmbedmergeError(f"{path}: no such file of texts; check the path") from error
    except (OSError, UnicodeDecodeError) as error:
        raise EmbedmergeError(f"{path}: cannot be read as UTF-8 text ({error})") from error


def _lines(path: Path) -> Iterator[Text]:
    return (Text(line.strip()) for line in _read_lines(path))


def _rows(path: Path) -> Iterator[Text]:
    for number, line in enumerate(_read_lines(path), 1):
        if line.strip():
            yield from _parse(line, f"{path}:{number}")


def _parse(line: str, where: str) -> Iterator[Text]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise EmbedmergeError(f"{where}: not a JSON object ({error})") from error
    if not isinstance(row, dict) or not row.keys() & {"text", "query", "pos"}:
        raise EmbedmergeError(f"{where}: not a JSON object with `text`, or with `query` and `pos`")
    yield from _texts_of(row, "text", "document", where)
    yield from _texts_of(row, "query", "query", where)
    yield from _texts_of(row, "pos", "document", where)


def _texts_of(row: dict[str, Any], key: str, kind: Kind, where: str) -> Iterator[Text]:
    value = row.get(key, [])
    contents = [value] if isinstance(value, str) else value
    if not isinstance(contents, list) or not all(isinstance(content, str) for content in contents):
        raise EmbedmergeError(f"{where}: `{key}` must be a text or a list of texts")
    yield from (Text(content, kind) for content in contents)
