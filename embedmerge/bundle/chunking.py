"""Documents cut into passages that a model reads to their end."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from embedmerge.bundle.markdown import Section, sections
from embedmerge.bundle.passage import Passage
from embedmerge.errors import EmbedmergeError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from semantic_text_splitter import MarkdownSplitter, TextSplitter
    from tokenizers import Tokenizer

    from embedmerge.bundle.passage import Document

SEPARATOR = " > "
STEP = 8  # tokens; a splitter for every length of a title would take longer to make than to use
LEAST = 16  # tokens of a passage, below which nothing sensible is left of a text


class Chunking(BaseModel):
    """How documents are cut.

    Attributes:
        tokens: Of a passage at most, counted by the model's tokenizer with its prompt, title and special
            tokens; None where documents stay whole.
        overlap: Tokens that a passage repeats of the one before it at most.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    tokens: int | None
    overlap: int = 0

    def __str__(self) -> str:
        if self.tokens is None:
            return "whole documents"
        return f"{self.tokens} tokens at most" + (f", {self.overlap} repeated" if self.overlap else "")


class Chunker:
    """Cuts documents with `semantic-text-splitter`, at the greatest of its units that fits.

    Markdown is cut at every heading first, and the headings that a passage stands under become its title.

    Args:
        chunking: How long passages are.
        folder: Of the transformer that will encode them, with its tokenizer.
        prompt: What will be put before every passage.

    Raises:
        EmbedmergeError: Passages as short as that hold nothing, or the tokenizer cannot be read.
    """

    def __init__(self, chunking: Chunking, folder: Path, prompt: str) -> None:
        self._chunking = chunking
        self._tokenizer = _tokenizer(folder)
        self._added = self._tokenizer.num_special_tokens_to_add(is_pair=False) + self.count(prompt)
        self._room = (chunking.tokens or 0) - self._added
        self._splitter = cache(self._new_splitter)
        if chunking.tokens is not None and self._room < LEAST + chunking.overlap:
            msg = f"{chunking.tokens} tokens a passage, {chunking.overlap} of them repeated: too few; "
            raise EmbedmergeError(f"{msg}prompt and special tokens take some, and {LEAST} are the least")

    def count(self, text: str) -> int:
        """Tokens of a text, special ones not counted."""
        return len(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def length(self, passage: Passage) -> int:
        """Tokens of a passage as it is encoded, with prompt, title and special ones."""
        return self._added + self.count(passage.encoded)

    def passages(self, document: Document) -> Iterator[Passage]:
        """The passages of a document in order; where it is cut, their ids end in their number."""
        if self._chunking.tokens is None:
            yield _passage(document, document.id, document.title, 0, len(document.text))
            return
        places = [place for section in _sections(document) for place in self._cut(document, section)]
        if not places and document.title:
            places = [(document.title, 0, 0)]
        for number, (title, start, end) in enumerate(places):
            yield _passage(document, f"{document.id}#{number}", title, start, end)

    def _cut(self, document: Document, section: Section) -> Iterator[tuple[str, int, int]]:
        """Title and place of each passage of a section; one of headings alone is none."""
        title = self._title(document, section)
        taken = -(-self.count(title) // STEP) * STEP
        splitter = self._splitter(self._room - taken, document.markdown)
        for start, text in splitter.chunk_indices(document.text[section.start : section.end]):
            yield title, section.start + start, section.start + start + len(text)

    def _title(self, document: Document, section: Section) -> str:
        """The document's title and the headings, or the last of them that leave the text half of the room."""
        names = [name for name in (document.title, *section.headings) if name]
        whole = (SEPARATOR.join(names[first:]) for first in range(len(names)))
        return next((title for title in whole if self.count(title) <= self._spare), "")

    @property
    def _spare(self) -> int:
        return max(self._room // 2 - self._chunking.overlap, 0)

    def _new_splitter(self, capacity: int, markdown: bool) -> TextSplitter | MarkdownSplitter:
        from semantic_text_splitter import MarkdownSplitter, TextSplitter

        kind = MarkdownSplitter if markdown else TextSplitter
        return kind.from_huggingface_tokenizer(self._tokenizer, capacity, self._chunking.overlap)


def _sections(document: Document) -> Iterator[Section]:
    if document.markdown:
        yield from sections(document.text)
    else:
        yield Section((), 0, len(document.text))


def _passage(document: Document, name: str, title: str, start: int, end: int) -> Passage:
    text = document.text[start:end]
    return Passage(name, document.id, text, title, document.source, start, end, document.sha256)


def _tokenizer(folder: Path) -> Tokenizer:
    """The model's tokenizer, which cuts nothing off."""
    from tokenizers import Tokenizer
    from transformers import AutoTokenizer

    try:
        loaded = AutoTokenizer.from_pretrained(folder, local_files_only=True).backend_tokenizer
        tokenizer = Tokenizer.from_str(loaded.to_str())
    except Exception as error:  # the library raises whatever its parts raise
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise EmbedmergeError(f"{folder}: its tokenizer cannot be read ({reason})") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer
