"""The same queries in the old index, in the old index rotated, and in one encoded again."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from embedmerge.evaluation.cost import measured
from embedmerge.evaluation.paired import PairedTask, difference
from embedmerge.evaluation.scoring import score_once
from embedmerge.reindexing.agreement import Agreement
from embedmerge.reindexing.rotation import Rotation
from embedmerge.reindexing.verdict import Verdict, verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from embedmerge.evaluation.significance import Difference
    from embedmerge.evaluation.tasks import Task
    from embedmerge.reindexing.arrangement import Arrangement
    from embedmerge.retrieval.encoder import Encoder

TODAY = "old model, old index"
STAYING = "new model, old index"
ROTATED = "new model, old index rotated"
ENCODED = "new model, new index"
FEWEST = 200  # texts encoded, from which a rate can be told
PAIRS = 1000  # documents that the rotation is fitted on: some three times the dimension of small encoders


@dataclass(frozen=True)
class Arranged:
    """How one arrangement ranks.

    Attributes:
        ndcg_at_10: Points. Where nothing is judged, what the new index ranks first counts as relevant.
        recall_at_100: Points.
        to_encoded: Difference to the index encoded again; None for that itself.
        to_today: Difference to the old model in the old index; None for that itself.
        agreement: With the index encoded again.
    """

    ndcg_at_10: float
    recall_at_100: float
    to_encoded: Difference | None
    to_today: Difference | None
    agreement: Agreement


@dataclass(frozen=True)
class ReindexCheck:
    """Whether an index can stay.

    Attributes:
        old: Old model as given.
        new: New model as given.
        task: Name of the corpus.
        documents: Documents looked at.
        documents_in_all: Documents of the corpus.
        queries: Queries looked at.
        judged: Whether there were judgements; else the rankings of the new index stood for them.
        margin: Points of nDCG@10 that may be lost.
        arrangements: By name: today's, the old index with the new model, the same rotated, and encoded
            again. The second is absent where the models' dimensions differ.
        verdict: `stay`, `rotate`, `re-encode`, or `unsure`.
        rotation_documents: Documents that a rotation has to see encoded by the new model.
        cpu_seconds: What encoding all documents again would take on this machine, at the rate measured
            here; None where most embeddings were in the cache.
    """

    old: str
    new: str
    task: str
    documents: int
    documents_in_all: int
    queries: int
    judged: bool
    margin: float
    arrangements: dict[str, Arranged]
    verdict: Verdict
    rotation_documents: int
    cpu_seconds: float | None

    @property
    def facts(self) -> dict[str, Any]:
        """As `--json` says it."""
        return asdict(self)


def check_index(
    old: Encoder, new: Encoder, task: Task, *, documents_in_all: int, margin: float, judged: bool = True
) -> ReindexCheck:
    """Rank with every arrangement of two models and compare.

    Args:
        old: Model that built the index.
        new: Model that is to take its place.
        task: Queries and documents.
        documents_in_all: Documents of the corpus, of which the task may hold a sample.
        margin: Points of nDCG@10 that may be lost.
        judged: Whether the judgements are anybody's but the new model's.

    Raises:
        EmbedmergeError: The data cannot be had, or vectors are compared in a way that is not indexed.
    """
    from embedmerge.reindexing.arrangement import ArrangedEncoder

    texts = list(task.texts.documents.values())
    with measured() as meter:
        rotation = _fitted(old, new, texts)
        scores = {
            arrangement.name: score_once(ArrangedEncoder(arrangement), task, arrangement.similarity)
            for arrangement in _arrangements(old, new, rotation)
        }
    cost = meter.cost
    paired = PairedTask.of(scores)
    arrangements = {name: _arranged(paired, name) for name in scores}
    staying = arrangements.get(STAYING)
    return ReindexCheck(
        old=old.model.name,
        new=new.model.name,
        task=task.name,
        documents=len(texts),
        documents_in_all=documents_in_all,
        queries=len(paired.queries),
        judged=judged,
        margin=margin,
        arrangements=arrangements,
        verdict=verdict(
            staying.to_encoded if staying else None, difference([paired], ROTATED, ENCODED), margin
        ),
        rotation_documents=rotation.fitted_on,
        cpu_seconds=documents_in_all * cost.cpu_seconds / cost.encoded if cost.encoded >= FEWEST else None,
    )


def _fitted(old: Encoder, new: Encoder, texts: Sequence[str]) -> Rotation:
    """Fitted on documents spread over the corpus."""
    some = texts[:: max(len(texts) // PAIRS, 1)][:PAIRS]
    return Rotation.fitted(_unit(old, some), _unit(new, some))


def _unit(encoder: Encoder, texts: Sequence[str]) -> NDArray[np.float32]:
    from embedmerge.retrieval.vectors import normalised

    vectors = encoder.embed(texts, encoder.model.prompt("document"))
    return normalised(vectors) if encoder.model.cosine else vectors


def _arrangements(old: Encoder, new: Encoder, rotation: Rotation) -> list[Arrangement]:
    from embedmerge.evaluation.adapter import MtebEncoder
    from embedmerge.reindexing.arrangement import Arrangement

    before, after = MtebEncoder(old), MtebEncoder(new)
    own, others = old.model.similarity, new.model.similarity
    found = [
        Arrangement(TODAY, before, before, own),
        Arrangement(STAYING, after, before, own),
        Arrangement(ROTATED, after, before, others, rotation),
        Arrangement(ENCODED, after, after, others),
    ]
    same_dimension = rotation.matrix.shape[0] == rotation.matrix.shape[1]
    return [one for one in found if one.name != STAYING or same_dimension]


def _arranged(paired: PairedTask, name: str) -> Arranged:
    scores = paired.scores[name]

    def against(reference: str) -> Difference | None:
        return None if name == reference else difference([paired], name, reference)

    return Arranged(
        scores.ndcg_at_10,
        scores.recall_at_100,
        against(ENCODED),
        against(TODAY),
        Agreement.of(scores.ranked, paired.scores[ENCODED].ranked),
    )
