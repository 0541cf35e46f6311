"""What a corpus brings to a bundle: passages of documents that are new or have changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from embedmerge.bundle.chunking import Chunker
    from embedmerge.bundle.corpus import Corpus
    from embedmerge.bundle.passage import Document, Passage
    from embedmerge.bundle.remarks import Remarks


class Intake:
    """Goes through a corpus once.

    Args:
        corpus: The documents.
        chunker: Cuts them.
        known: Digest by id of the documents that the bundle has.
        reads: Tokens of a passage that the model reads.
        remarks: Where it is noted what is left out, or is too long.

    Attributes:
        seen: Ids of the documents that have been met and have text.
        added: Number of new documents.
        updated: Ids of documents whose text is another.
        emptied: Ids of documents of the bundle that have no text any more.
        unchanged: Number of the others.
    """

    def __init__(
        self, corpus: Corpus, chunker: Chunker, known: Mapping[str, str], reads: int, remarks: Remarks
    ) -> None:
        self._corpus = corpus
        self._chunker = chunker
        self._known = known
        self._reads = reads
        self._remarks = remarks
        self.seen: set[str] = set()
        self.added = 0
        self.updated: set[str] = set()
        self.emptied: set[str] = set()
        self.unchanged = 0

    def lines(self) -> Iterator[bytes]:
        """Every passage that has to be encoded, as a line of a document store.

        Raises:
            EmbedmergeError: The corpus is damaged, or an id stands for two texts.
        """
        for document in self._corpus.documents():
            if self._known.get(document.id) == document.sha256:
                self.seen.add(document.id)
                self.unchanged += 1
                continue
            passages = list(self._chunker.passages(document)) if _has_text(document) else []
            if not passages:
                self._leave_out(document)
                continue
            self._take(document)
            for passage in passages:
                self._note_length(passage)
                yield passage.as_line()

    def _take(self, document: Document) -> None:
        self.seen.add(document.id)
        if document.id in self._known:
            self.updated.add(document.id)
        else:
            self.added += 1

    def _leave_out(self, document: Document) -> None:
        self._remarks.add("documents are empty; left out", document.id)
        if document.id in self._known:
            self.emptied.add(document.id)

    def _note_length(self, passage: Passage) -> None:
        if self._chunker.length(passage) > self._reads:
            what = f"passages are longer than the {self._reads} tokens that the model reads"
            self._remarks.add(f"{what}; what is beyond cannot be found without --chunk-tokens", passage.id)


def _has_text(document: Document) -> bool:
    return bool((document.text + document.title).strip())
