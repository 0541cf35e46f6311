"""The Python language reference as a collection: something general that every machine has."""

from __future__ import annotations

import re
from importlib import import_module

from embedmerge.errors import EmbedmergeError
from embedmerge.harvest.duplicates import distinct
from embedmerge.harvest.text import Docstring, make_pair

_HEADING = re.compile(r"^(?P<title>\S[^\n]*)\n(?P<line>[*=\-~^\"])(?P=line){2,}[ \t]*$", re.MULTILINE)


def harvest_language_reference(*, characters: int = 1000) -> list[Docstring]:
    """Cut the help topics of the standard library (`pydoc_data.topics`) into queries and documents.

    Sections are long, so each is cut into passages of whole paragraphs; the first sentence of a passage is
    the query, the rest of the passage the document. Headings alone ("Sets", "Calls") would ask nothing.

    Args:
        characters: Longest document to keep.

    Returns:
        Pairs in order of topic and place, without duplicates and near-duplicates.

    Raises:
        EmbedmergeError: This Python comes without its help topics.
    """
    try:
        topics: dict[str, str] = import_module("pydoc_data.topics").topics
    except ImportError:
        msg = "pydoc_data.topics: this Python was installed without its help topics; install the full library"
        raise EmbedmergeError(msg) from None
    pairs = []
    for topic in sorted(topics):
        for place, passage in enumerate(_passages(topics[topic], characters)):
            pair = make_pair(f"python.{topic}.{place:03d}", passage, characters)
            if pair is not None:
                pairs.append(pair)
    return distinct(pairs)


def _passages(text: str, characters: int) -> list[str]:
    """Paragraphs in groups of about `characters`; each opens with prose, which a query can be taken from."""
    passages: list[str] = []
    for section in re.split(r"\x00", _HEADING.sub("\x00", text)):
        group: list[str] = []
        for paragraph in re.split(r"\n\s*\n", section.strip("\n")):
            full = sum(map(len, group)) + len(paragraph) > characters
            if group and full and not paragraph.startswith(" "):
                passages.append("\n\n".join(group))
                group = []
            if group or not paragraph.startswith(" "):
                group.append(paragraph)
        if group:
            passages.append("\n\n".join(group))
    return passages
