"""Documents as they are read, and the passages that are cut from them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from embedmerge.digest import content_digest
from embedmerge.retrieval.collection.content import document_text


class Document(NamedTuple):
    """A document of a corpus.

    Attributes:
        where: File and line, for messages.
        id: Its id.
        text: Its text.
        title: Its title, empty where there is none.
        source: File that it comes from, as it is shown to a reader.
        markdown: Whether the text is Markdown.
    """

    where: str
    id: str
    text: str
    title: str = ""
    source: str = ""
    markdown: bool = False

    @property
    def sha256(self) -> str:
        """Digest of title and text: a document with the same one need not be encoded again.

        >>> Document("", "a", "text").sha256 == Document("", "b", "text").sha256
        True
        """
        return content_digest([self.title, self.text])


@dataclass(frozen=True)
class Passage:
    """What one vector of the index stands for.

    Attributes:
        id: Its own id.
        document: Id of the document that it is a part of.
        text: Its text: characters `start` to `end` of the document's.
        title: The document's title, or the headings that it stands under.
        source: File that the document comes from.
        start: Place of its first character in the document's text.
        end: Place after its last.
        sha256: Digest of the whole document.
    """

    id: str
    document: str
    text: str
    title: str
    source: str
    start: int
    end: int
    sha256: str

    @property
    def encoded(self) -> str:
        """What is encoded of it: title and text, as mteb joins them."""
        return document_text(self.title, self.text)

    @property
    def metadata(self) -> dict[str, Any]:
        """Everything but id and text, for the document stores of other libraries."""
        return {
            "document": self.document,
            "title": self.title,
            "source": self.source,
            "start": self.start,
            "end": self.end,
        }

    def as_line(self) -> bytes:
        """As a line of the document store."""
        return json.dumps(asdict(self), ensure_ascii=False).encode() + b"\n"
