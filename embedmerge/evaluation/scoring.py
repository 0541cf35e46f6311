"""Run tasks on a model through mteb with its FAISS index, and keep the score of every query."""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import asdict
from importlib.metadata import version
from statistics import fmean
from typing import TYPE_CHECKING, Any

from embedmerge.atomic import write_json
from embedmerge.errors import EmbedmergeError
from embedmerge.evaluation.compare import TaskScores

if TYPE_CHECKING:
    from pathlib import Path

    from embedmerge.evaluation.tasks import Task
    from embedmerge.retrieval.encoder import Encoder


class ScoreStore:
    """Scores of finished tasks in files, keyed by model, task content and settings.

    Args:
        folder: Where the files lie; created on the first store.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, encoder: Encoder, task: Task) -> Path:
        """The file of one model on one task."""
        content = {
            "model": encoder.model.sha256,
            "prompts": encoder.model.prompts,
            "settings": [encoder.settings.bf16, encoder.settings.max_seq_length],
            "task": [task.name, task.split, task.content],
            "mteb": version("mteb"),
        }
        key = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
        return self.folder / f"{task.name}.{task.split}.{key[:24]}.json"

    def load(self, encoder: Encoder, task: Task) -> TaskScores | None:
        """The kept scores, or None where there are none or their file is damaged."""
        try:
            kept = json.loads(self.path(encoder, task).read_text(encoding="utf-8"))
            return TaskScores(**{**kept, "side": task.side})
        except (OSError, ValueError, TypeError):
            return None

    def store(self, encoder: Encoder, task: Task, scores: TaskScores) -> None:
        """Keep the scores."""
        write_json(self.path(encoder, task), asdict(scores))


def score(encoder: Encoder, task: Task, store: ScoreStore | None = None) -> TaskScores:
    """Scores of one model on one task, from the store where it has them.

    Raises:
        EmbedmergeError: The task's data cannot be had.
    """
    kept = store.load(encoder, task) if store else None
    if kept is not None:
        return kept
    scores = _run(encoder, task)
    if store:
        store.store(encoder, task, scores)
    return scores


def _run(encoder: Encoder, task: Task) -> TaskScores:
    import mteb
    from mteb.models import SearchEncoderWrapper
    from mteb.models.search_encoder_index import FaissSearchIndex

    from embedmerge.evaluation.adapter import MtebEncoder

    logging.getLogger("mteb").setLevel(logging.ERROR)
    model = MtebEncoder(encoder)
    task.mteb_task.filter_eval_splits([task.split])
    with _PerQuery(task.mteb_task) as per_query:
        try:
            result = mteb.evaluate(
                SearchEncoderWrapper(model, index_backend=FaissSearchIndex(model)),
                task.mteb_task,
                cache=None,  # mteb's cache mixes local models up; the store above does not
                co2_tracker=False,
                show_progress_bar=False,
                encode_kwargs={"show_progress_bar": False, "batch_size": 512},
            )
        except (OSError, ConnectionError) as error:
            raise _unavailable(task, error) from error
    subsets = result.task_results[0].scores[task.split]  # one, or one per language
    return TaskScores(
        task=task.name,
        split=task.split,
        side=task.side,
        queries=len(per_query.ndcg_at_10),
        ndcg_at_10=_points(fmean(subset["ndcg_at_10"] for subset in subsets)),
        recall_at_100=_points(fmean(subset["recall_at_100"] for subset in subsets)),
        per_query=per_query.ndcg_at_10,
    )


class _PerQuery:
    """Catches the scores of single queries at the one place where an mteb task sees them.

    mteb's results hold means only; `task_specific_scores` is called with all of them, so the
    task's own is wrapped while it runs.
    """

    def __init__(self, mteb_task: Any) -> None:
        self._task = mteb_task
        self.ndcg_at_10: dict[str, float] = {}

    def __enter__(self) -> _PerQuery:
        own = self._task.task_specific_scores
        several = len(self._task.hf_subsets) > 1  # query ids repeat from language to language

        def keep(scores: dict[str, dict[str, float]], *args: Any, **kwargs: Any) -> dict[str, float]:
            prefix = f"{kwargs['hf_subset']}/" if several else ""
            found = {prefix + query: _points(values["ndcg_cut_10"]) for query, values in scores.items()}
            self.ndcg_at_10 = dict(sorted({**self.ndcg_at_10, **found}.items()))
            return dict(own(scores, *args, **kwargs))

        self._task.task_specific_scores = keep
        return self

    def __exit__(self, *_: object) -> None:
        del self._task.task_specific_scores  # the class's own shows again


def _points(fraction: float) -> float:
    return round(100 * float(fraction), 4)


def _unavailable(task: Task, error: Exception) -> EmbedmergeError:
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return EmbedmergeError(
        f"{task.name}: its data ({task.content}) is not in the Hugging Face cache "
        f"and cannot be fetched ({reason}); "
        "fetch it where there is a network and bring the cache, or name a local BEIR folder"
    )
