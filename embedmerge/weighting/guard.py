"""What stands for general quality while weights are chosen, and how much of it may go."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from embedmerge.digest import content_digest
from embedmerge.errors import EmbedmergeError
from embedmerge.retrieval.collection import read_collection
from embedmerge.statistics.text import load_texts
from embedmerge.weighting.examples import refuse_test_split
from embedmerge.weighting.ground import Preservation, Retrieval
from embedmerge.weighting.pool import Pool
from embedmerge.weighting.quality import grouped_means

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from embedmerge.retrieval.encoder import Encoder
    from embedmerge.weighting.ground import Ground
    from embedmerge.weighting.quality import Side

BUNDLED = "guard.txt"
UNKNOWN = 0.05  # share of unknown tokens from which on a text is not in the tokenizer's language
CANDIDATES = 100  # of a task's query, the relevant ones not counted; far more than the ten that count
LOOKED_AT = 128  # characters of a text that tell its language
NOISE = 1e-5  # nats: divergence of a model from itself, in float32
SPELT = 0.7  # tokens per character from which on a text is spelt out letter by letter


class Guard(BaseModel):
    """General quality: labelled tasks, unlabelled text, or the text that comes with embedmerge.

    Attributes:
        tasks: BEIR folders, each with `:split`, on which nDCG@10 is measured.
        text: A `.txt` file of one text on each line, or a `.jsonl` file; the base's ranking among
            neighbouring lines is to be kept.
        floor: With tasks, standard errors of the paired difference that a mixture may be below the base in
            the mean over the tasks.
        task_floor: Likewise on each task alone: what one gains is not to pay for what another certainly
            loses.
        budget: With text, the mean KL divergence from the base that is allowed, in nats.
        most: Queries of each task, or texts, at most.
        seed: Of the choice where there are more.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    tasks: tuple[str, ...] = ()
    text: str | None = None
    floor: float = Field(default=0.5, ge=0)
    task_floor: float = Field(default=2.0, ge=0)
    budget: float = Field(default=0.05, ge=0)
    most: int = Field(default=512, ge=8)
    seed: int = 0

    @model_validator(mode="after")
    def _one_kind(self) -> Guard:
        if self.tasks and self.text is not None:
            msg = "guard: tasks and text are both given; general quality is measured on one of them"
            raise EmbedmergeError(msg)
        return self

    @property
    def described(self) -> str:
        """In words, for reports."""
        if self.tasks:
            return f"nDCG@10 on {', '.join(task.rsplit('/', 1)[-1] for task in self.tasks)}"
        source = Path(self.text).name if self.text else "embedmerge's own guard text"
        return f"the base's ranking of {source}"

    @property
    def described_floor(self) -> str:
        """In words, for reports."""
        if self.tasks:
            mean = f"at most {self.floor:g} standard errors below the base"
            return f"{mean}, and {self.task_floor:g} on any one task" if len(self.tasks) > 1 else mean
        return f"a divergence of at most {self.budget:g} nats from the base"

    def grounds(self, *, test_data: bool = False) -> list[Ground]:
        """Read what general quality is measured on.

        Args:
            test_data: Whether tasks may be test splits.

        Raises:
            EmbedmergeError: A file or folder is missing, malformed or empty, or a task is a test split.
        """
        if self.tasks:
            return [self._task(task, test_data=test_data) for task in self.tasks]
        if self.text is not None:
            texts = load_texts(Path(self.text).expanduser(), self.most, self.seed)
            return [Preservation("guard text", [text.content for text in texts])]
        bundled = (files("embedmerge.weighting") / BUNDLED).read_text(encoding="utf-8").splitlines()
        return [Preservation("guard text", bundled[: self.most])]

    def sha256(self, *, test_data: bool = False) -> str:
        """Digest over the content of what is measured on, whatever files it came from.

        Raises:
            EmbedmergeError: As `grounds`.
        """
        return content_digest(
            [
                [list(ground.queries), list(ground.passages), list(ground.labels)]
                for ground in self.grounds(test_data=test_data)
            ]
        )

    def margins(self, general: Side, base: Side) -> NDArray[np.float64]:
        """How far mixtures are above the floor; below it where negative.

        Args:
            general: The mixtures' side.
            base: The base's, of the same queries.

        Returns:
            Shape (mixtures,), in the unit of the general side.
        """
        if not self.tasks:
            return general.means + self.budget + NOISE
        differences = general.values - base.values
        margins = [_above(differences, general.groups, self.floor)]
        for group in np.unique(general.groups):
            rows = general.groups == group
            margins.append(_above(differences[:, rows], general.groups[rows], self.task_floor))
        lowest: NDArray[np.float64] = np.min(margins, axis=0)
        return lowest

    def _task(self, named: str, *, test_data: bool) -> Retrieval:
        folder, _, split = named.rpartition(":")
        if not folder:
            msg = f"guard.tasks: {named}: name the split too, as in {named}:dev; never one you report on"
            raise EmbedmergeError(msg)
        refuse_test_split(named, split, allowed=test_data)
        pool = Pool.of_collection(read_collection(Path(folder).expanduser(), split))
        if len(pool.queries) < 2:
            msg = (
                f"guard.tasks: {named}: one query is judged in it; give a task with more, better some hundred"
            )
            raise EmbedmergeError(msg)
        drawn = np.random.default_rng(self.seed).permutation(len(pool.queries))[: self.most]
        return Retrieval(Path(folder).name, pool.of_rows(sorted(drawn.tolist())), most=CANDIDATES)


def _above(differences: NDArray[np.float64], groups: NDArray[np.int64], floor: float) -> NDArray[np.float64]:
    """How far mean differences to the base are above so many of their standard errors below zero."""
    return grouped_means(differences, groups) + floor * standard_errors(differences, groups) + NOISE


def standard_errors(values: NDArray[np.float64], groups: NDArray[np.int64]) -> NDArray[np.float64]:
    """Standard errors of grouped means.

    Args:
        values: Shape (mixtures, queries).
        groups: Group of each query, shape (queries,).

    Returns:
        Shape (mixtures,); 0 where every group has a single query.
    """
    parts = [values[:, groups == group] for group in np.unique(groups)]
    variances = [part.var(axis=1, ddof=1) / part.shape[1] for part in parts if part.shape[1] > 1]
    if not variances:
        return np.zeros(len(values))
    errors: NDArray[np.float64] = np.sqrt(np.sum(variances, axis=0)) / len(parts)
    return errors


@dataclass(frozen=True)
class Language:
    """How well a tokenizer knows some texts.

    Attributes:
        unknown: Share of tokens that stand for something unknown.
        per_character: Tokens per character; near 1 where words are spelt out.
    """

    unknown: float
    per_character: float

    @classmethod
    def of(cls, encoder: Encoder, texts: Sequence[str]) -> Language:
        """Look at the texts through a model's tokenizer."""
        beginnings = [text[:LOOKED_AT] for text in texts]
        ids, stranger = encoder.token_ids(beginnings)
        tokens = [token for row in ids for token in row]
        characters = sum(len("".join(text.split())) for text in beginnings)
        unknown = sum(token == stranger for token in tokens)
        return cls(unknown / max(len(tokens), 1), len(tokens) / max(characters, 1))

    @property
    def is_foreign(self) -> bool:
        """Whether the tokenizer was not made for these texts."""
        return self.unknown > UNKNOWN or self.per_character > SPELT
