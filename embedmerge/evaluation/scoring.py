"""Run tasks on a model through mteb with its FAISS index, and keep the score of every query."""

from __future__ import annotations

import logging
from statistics import fmean
from typing import TYPE_CHECKING, Any

from embedmerge.evaluation.scores import TaskScores
from embedmerge.evaluation.store import ranked

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mteb.models.abs_encoder import AbsEncoder
    from mteb.results import TaskResult

    from embedmerge.evaluation.adapter import Identity
    from embedmerge.evaluation.store import ScoreStore
    from embedmerge.evaluation.tasks import Task
    from embedmerge.retrieval.encoder import Encoder

FIRST = 10  # documents of a query that are kept with its score


def score(
    encoder: Encoder, task: Task, store: ScoreStore | None = None, identity: Identity | None = None
) -> TaskScores:
    """Scores of one model on one task, from the store where it has them.

    Args:
        encoder: The model.
        task: The task.
        store: Where scores are kept; None to keep none.
        identity: What the model is called in mteb's result files; after its weights where None.

    Raises:
        EmbedmergeError: The task's data cannot be had, or vectors are compared in a way that is not indexed.
    """
    from embedmerge.evaluation.adapter import MtebEncoder

    kept = store.load(encoder, task) if store else None
    if kept is not None:
        return kept
    model = MtebEncoder(encoder, identity, task.prompts)
    judged, result = _run(model, task, encoder.model.similarity)
    scores = _scores(task, judged, result)
    if store:
        store.store_result(result, model.mteb_model_meta)
        store.store_run(encoder, task, judged.run)
        store.store(encoder, task, scores)
    return scores


def score_once(model: AbsEncoder, task: Task, similarity: str) -> TaskScores:
    """Scores of anything that encodes under mteb's protocol; nothing is kept.

    Args:
        model: Encodes queries and documents.
        task: The task.
        similarity: How their vectors are compared.

    Raises:
        EmbedmergeError: As `score`.
    """
    return _scores(task, *_run(model, task, similarity))


def _run(model: AbsEncoder, task: Task, similarity: str) -> tuple[_Judged, TaskResult]:
    import mteb
    from mteb.models import SearchEncoderWrapper

    from embedmerge.retrieval.index import IndexSettings, SearchBackend

    index = SearchBackend(IndexSettings("exact", similarity))  # type: ignore[arg-type]
    logging.getLogger("mteb").setLevel(logging.ERROR)
    task.mteb_task.filter_eval_splits([task.split])
    with _Judged(task.mteb_task) as judged:
        result = mteb.evaluate(
            SearchEncoderWrapper(model, index_backend=index),
            task.mteb_task,
            cache=None,  # mteb's cache mixes local models up; the store above does not
            co2_tracker=False,
            show_progress_bar=False,
            encode_kwargs={"show_progress_bar": False, "batch_size": 512},
        )
    return judged, result.task_results[0]


def _scores(task: Task, judged: _Judged, result: TaskResult) -> TaskScores:
    subsets = result.scores[task.split]  # one, or one per language
    return TaskScores(
        task=task.name,
        split=task.split,
        side=task.side,
        queries=len(judged.ndcg_at_10),
        ndcg_at_10=_points(judged.answered * fmean(subset["ndcg_at_10"] for subset in subsets)),
        recall_at_100=_points(judged.answered * fmean(subset["recall_at_100"] for subset in subsets)),
        per_query=dict(sorted(judged.ndcg_at_10.items())),
        ranked={query: ranked(documents)[:FIRST] for query, documents in judged.run.items()},
    )


class _Judged:
    """Catches runs and scores of single queries at the one place where an mteb task sees them.

    mteb's results hold means only; `task_specific_scores` is called with everything, so the task's own is
    wrapped while it runs.

    Attributes:
        ndcg_at_10: Points by query; 0 where there was no result.
        run: Query -> document -> similarity.
    """

    def __init__(self, mteb_task: Any) -> None:
        self._task = mteb_task
        self._missing = 0
        self.ndcg_at_10: dict[str, float] = {}
        self.run: dict[str, Mapping[str, float]] = {}

    def __enter__(self) -> _Judged:
        own = self._task.task_specific_scores
        several = len(self._task.hf_subsets) > 1  # ids repeat from language to language

        def keep(
            scores: dict[str, dict[str, float]], qrels: Any, results: Any, *args: Any, **kwargs: Any
        ) -> dict[str, float]:
            self._keep(scores, qrels, results, f"{kwargs['hf_subset']}/" if several else "")
            return dict(own(scores, qrels, results, *args, **kwargs))

        self._task.task_specific_scores = keep
        return self

    def __exit__(self, *_: object) -> None:
        del self._task.task_specific_scores  # the class's own shows again

    def _keep(
        self, scores: dict[str, dict[str, float]], qrels: Any, results: dict[str, Any], prefix: str
    ) -> None:
        self._missing += len(set(qrels) - set(scores))
        self.ndcg_at_10 |= {prefix + query: 0.0 for query in qrels}
        self.ndcg_at_10 |= {prefix + query: _points(found["ndcg_cut_10"]) for query, found in scores.items()}
        self.run |= {
            prefix + query: {prefix + document: value for document, value in results[query].items()}
            for query in sorted(scores)
        }

    @property
    def answered(self) -> float:
        """Share of the judged queries that mteb's means are over: those without a result it leaves out."""
        return 1 - self._missing / max(len(self.ndcg_at_10), 1)


def _points(fraction: float) -> float:
    return round(100 * float(fraction), 4)
