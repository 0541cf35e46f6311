"""A docstring as a query and its document, and the rules for which ones are worth keeping."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass

MINIMUM_DOCUMENT = 80
MINIMUM_WORDS = 4
MAXIMUM_QUERY = 300

_ROLE = re.compile(r":[A-Za-z][\w:+-]*:`[~!]?([^`<]*[^`<\s])(?:\s*<[^`>]*>)?`")
_DIRECTIVE_LINE = re.compile(
    r"^[ \t]*\.\. (?:version\w+|currentmodule|autosummary|engine-support|index|_[^:\n]*)::?.*$", re.MULTILINE
)
# scipy fills shared paragraphs into `%(name)s` at import time.
_TEMPLATE_FIELD = re.compile(r"%\(\w+\)s")
_RULE = re.compile(r"^[ \t]*([-=*~^#])\1{2,}[ \t]*$", re.MULTILINE)
_SENTENCE_END = re.compile(r"(?<!e\.g)(?<!i\.e)(?<!etc)(?<!\bvs)[.!?](?=\s+[A-Z`(\[\"'])")
_SIGNATURE = re.compile(r"^[\w.]+\s*\([^\n]*(?:\n[^\n]+)*?\)(?:\s*->[^\n]*)?$")
_STUB = re.compile(
    r"^(?:deprecated|alias|aliases|see|same as|in-?place version|refer to|private)\b", re.IGNORECASE
)
_WORD = re.compile(r"[A-Za-z]{2,}")
_NOT_ALPHANUMERIC = re.compile(r"[\W_]+")


@dataclass(frozen=True)
class Docstring:
    """One query and the document that answers it.

    Attributes:
        name: Qualified name of the documented object; unique within a harvest.
        summary: The query: the first sentence.
        body: The document: everything after that sentence, on one line.
    """

    name: str
    summary: str
    body: str


def normalised(text: str) -> str:
    """The words of `text` alone, for comparing texts that differ in markup only.

    Examples:
        >>> normalised("Return  the `x`-axis.")
        'return the x axis'
    """
    return _NOT_ALPHANUMERIC.sub(" ", text.lower()).strip()


def trimmed(text: str, characters: int) -> str:
    """`text` cut at the last word that ends within `characters`."""
    if len(text) <= characters:
        return text
    return text[: characters + 1].rsplit(" ", 1)[0][:characters].rstrip()


def split_summary(text: str) -> tuple[str, str]:
    r"""The first sentence of a text and what follows it, each on one line.

    Examples:
        >>> split_summary("Fold it, e.g. twice. Then\nunfold.")
        ('Fold it, e.g. twice.', 'Then unfold.')
    """
    paragraph, _, rest = text.partition("\n\n")
    end = _SENTENCE_END.search(paragraph)
    if end:
        paragraph, rest = paragraph[: end.end()], paragraph[end.end() :] + "\n\n" + rest
    return " ".join(paragraph.split()), " ".join(rest.split())


def _plain(raw: str) -> str:
    """Docstring source without indentation, reST roles, version notes, template fields and underlines."""
    text = _TEMPLATE_FIELD.sub("", _ROLE.sub(r"\1", inspect.cleandoc(raw)))
    return _RULE.sub("", _DIRECTIVE_LINE.sub("", text)).replace("``", "`")


def _without_signature(text: str) -> str:
    """C functions open with their call signature, which names the answer and asks nothing."""
    text = re.sub(r"^(?:[^\n]+\n)?--\n+", "", text.lstrip())
    paragraph, separator, rest = text.partition("\n\n")
    while separator and _SIGNATURE.match(paragraph.strip()):
        paragraph, separator, rest = rest.lstrip().partition("\n\n")
    return paragraph + separator + rest


def read_docstring(name: str, raw: str, characters: int) -> Docstring | None:
    """Turn one docstring into a query and its document.

    Args:
        name: Qualified name of the object.
        raw: The docstring as the source has it.
        characters: Longest document to keep.

    Returns:
        The pair, or None where the summary is trivial, the rest too short, the object a deprecated stub, or
        the summary repeated in the rest: a query that its own document quotes measures nothing.
    """
    return make_pair(name, _without_signature(_plain(raw)), characters)


def make_pair(name: str, text: str, characters: int) -> Docstring | None:
    """Split cleaned text into query and document; None where either is not worth keeping."""
    summary, body = split_summary(text.strip())
    body = trimmed(body, characters)
    if len(body) < MINIMUM_DOCUMENT or len(summary) > MAXIMUM_QUERY:
        return None
    if sum(map(bool, map(_WORD.search, summary.split()))) < MINIMUM_WORDS or _STUB.match(summary):
        return None
    if body.startswith((".. deprecated", ".. warning:: deprecated")) or normalised(summary) in normalised(
        body
    ):
        return None
    return Docstring(name, summary.replace("`", ""), body)
