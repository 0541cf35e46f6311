"""Questions to a bundle."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from embedmerge.bundle.identity import model_of
from embedmerge.bundle.opening import open_bundle
from embedmerge.errors import EmbedmergeError
from embedmerge.retrieval.encoder import Encoder
from embedmerge.retrieval.settings import EncodingSettings

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from embedmerge.bundle.opening import Bundle
    from embedmerge.bundle.passage import Passage
    from embedmerge.retrieval.vectors import Embeddings


@dataclass(frozen=True)
class Hit:
    """A passage that was found.

    Attributes:
        rank: Its place, from 1 on.
        score: Its similarity to the question: an inner product or cosine, or a negative distance.
        passage: The passage.
    """

    rank: int
    score: float
    passage: Passage


@dataclass(frozen=True)
class Answer:
    """What was found for a question.

    Attributes:
        question: The question.
        hits: The best passages, best first.
    """

    question: str
    hits: tuple[Hit, ...]


class Searcher:
    """A bundle with its model, ready for any number of questions.

    Args:
        bundle: The bundle.
        encoder: Of its model.
    """

    def __init__(self, bundle: Bundle, encoder: Encoder) -> None:
        self.bundle = bundle
        self._encoder = encoder

    @classmethod
    def open(cls, folder: Path, model: str | None = None) -> Self:
        """Open a bundle and find its model.

        Args:
            folder: The bundle.
            model: Folder or hub id of the model; None for where it lay when the bundle was made.

        Raises:
            EmbedmergeError: The bundle is missing or damaged, or the model is not there or another one.
        """
        bundle = open_bundle(folder)
        manifest = bundle.manifest
        _, found = model_of(folder, manifest.model, model)
        settings = EncodingSettings(max_seq_length=manifest.encoding.max_seq_length)
        return cls(bundle, Encoder(found, settings))

    def search(self, questions: Sequence[str], k: int = 10) -> list[Answer]:
        """The best passages for each question.

        Args:
            questions: One at least.
            k: How many passages each.

        Raises:
            EmbedmergeError: There is none, or an empty one, or k is not positive.
        """
        if not questions:
            raise EmbedmergeError("no question; ask at least one")
        blank = next((place for place, text in enumerate(questions, 1) if not text.strip()), None)
        if blank is not None:
            raise EmbedmergeError(f"question {blank}: it is empty; ask something")
        found = self.bundle.index.find(self.encoded(questions), k)
        return [
            Answer(question, tuple(self._hits(rows.tolist(), scores.tolist())))
            for question, (rows, scores) in zip(questions, found, strict=True)
        ]

    def encoded(self, questions: Sequence[str]) -> Embeddings:
        """Vectors of questions, with the bundle's query prompt.

        Returns:
            Shape (questions, dimension).
        """
        return self._encoder.embed(questions, self.bundle.manifest.encoding.query_prompt)

    def _hits(self, rows: list[int], scores: list[float]) -> list[Hit]:
        passages = (self.bundle.passages[row] for row in rows)
        return [Hit(rank, *each) for rank, each in enumerate(zip(scores, passages, strict=True), 1)]
