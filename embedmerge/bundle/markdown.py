"""Markdown cut at its headings."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from markdown_it import MarkdownIt
    from markdown_it.token import Token

LINE_END = re.compile(r"\r\n|\n|\r")
FRONT_MATTER = re.compile(r"\A---[ \t]*\r?\n(?:.*?\r?\n)??(?:---|\.\.\.)[ \t]*(?:\r?\n|\Z)", re.DOTALL)


class Section(NamedTuple):
    """What stands between two headings.

    Attributes:
        headings: Those that it stands under, the outermost first.
        start: Place of its first character, after its own heading.
        end: Place after its last.
    """

    headings: tuple[str, ...]
    start: int
    end: int


def sections(text: str) -> Iterator[Section]:
    r"""The sections of a Markdown text in order; YAML before the text is in none of them.

    >>> text = "# Guide\nHello.\n## Setup\n```\n# no heading\n```\n"
    >>> [(" > ".join(part.headings), text[part.start : part.end].strip()) for part in sections(text)]
    [('', ''), ('Guide', 'Hello.'), ('Guide > Setup', '```\n# no heading\n```')]
    """
    front = FRONT_MATTER.match(text)
    begin = front.end() if front else 0
    lines = [begin, *(match.end() for match in LINE_END.finditer(text, begin)), len(text)]
    open_headings: dict[int, str] = {}
    start = begin
    for level, title, first, after in _headings(text[begin:]):
        yield Section(tuple(open_headings.values()), start, lines[first])
        open_headings = {depth: name for depth, name in open_headings.items() if depth < level}
        open_headings[level] = title
        start = lines[after]
    yield Section(tuple(open_headings.values()), start, len(text))


def _headings(text: str) -> Iterator[tuple[int, str, int, int]]:
    """Level, title, first line and line after each heading; those inside of lists and quotations are text."""
    blocks = _parser().disable("inline").parse(text)
    inline = _parser()
    for token, content in pairwise(blocks):
        if token.type == "heading_open" and token.level == 0 and token.map:
            title = "".join(map(_plain, inline.parseInline(content.content)[0].children or ()))
            first, after = token.map
            yield int(token.tag[1:]), " ".join(title.split()), first, after


def _parser() -> MarkdownIt:
    from markdown_it import MarkdownIt

    return MarkdownIt("commonmark")


def _plain(token: Token) -> str:
    """What a reader sees of a part of a heading."""
    return token.content if token.type in {"text", "code_inline"} else " " * token.type.endswith("break")
