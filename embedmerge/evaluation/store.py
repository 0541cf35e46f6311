"""Scores on disk: those of every query for us, mteb's own result files for everybody else.

A folder of scores holds

    queries/<task>.<split>.<key>.json                  nDCG@10 of every query, and what it ranked first
    runs/<task>.<split>.<key>.trec                     on request: the ranked documents of every query
    results/<org>__<model>/<revision>/<task>.json      mteb's result cache

The key covers whatever the scores depend on, so a result is out of date exactly when its key is another. A
file of `queries/` is written last: what has one is finished.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from importlib.metadata import version
from typing import TYPE_CHECKING

from embedmerge.atomic import new_file, write_json
from embedmerge.digest import content_digest
from embedmerge.evaluation.scores import TaskScores

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from mteb.models.model_meta import ModelMeta
    from mteb.results import TaskResult

    from embedmerge.evaluation.tasks import Task
    from embedmerge.retrieval.encoder import Encoder

    Run = Mapping[str, Mapping[str, float]]

KEY_LENGTH = 24


class ScoreStore:
    """Scores of finished tasks in files, keyed by model, task content and settings.

    Args:
        folder: Where the files lie; created on the first store.
        runs: Whether a task is only finished when its run file is there.
    """

    def __init__(self, folder: Path, *, runs: bool = False) -> None:
        self.folder = folder
        self.runs = runs

    def path(self, encoder: Encoder, task: Task) -> Path:
        """The file with the score of every query."""
        return self.folder / "queries" / f"{self._stem(encoder, task)}.json"

    def run_path(self, encoder: Encoder, task: Task) -> Path:
        """The TREC run file."""
        return self.folder / "runs" / f"{self._stem(encoder, task)}.trec"

    def load(self, encoder: Encoder, task: Task) -> TaskScores | None:
        """The kept scores, or None where there are none, or their file is damaged, or a run is missing."""
        if self.runs and not self.run_path(encoder, task).exists():
            return None
        try:
            kept = json.loads(self.path(encoder, task).read_text(encoding="utf-8"))
            return TaskScores(**{**kept, "side": task.side})
        except (OSError, ValueError, TypeError):
            return None

    def store(self, encoder: Encoder, task: Task, scores: TaskScores) -> None:
        """Keep the score of every query."""
        write_json(self.path(encoder, task), asdict(scores))

    def store_run(self, encoder: Encoder, task: Task, run: Run) -> None:
        """Keep the ranked documents of every query, where runs are wanted."""
        if self.runs:
            write_trec(self.run_path(encoder, task), run, tag=encoder.model.sha256[:16])

    def store_result(self, result: TaskResult, meta: ModelMeta) -> Path:
        """Keep a result where mteb's own tools look for it, beside other splits of the same data.

        Returns:
            The file.
        """
        from mteb.cache import ResultCache
        from mteb.results import TaskResult

        path: Path = ResultCache(self.folder).get_task_result_path(result.task_name, meta)
        if path.exists():
            kept = TaskResult.from_disk(path)
            if kept.is_mergeable(result):
                result = kept.merge(result)
        with new_file(path) as beside:
            result.to_disk(beside)
        write_json(path.parent / "model_meta.json", json.loads(json.dumps(meta.to_dict(), default=str)))
        return path

    @staticmethod
    def _stem(encoder: Encoder, task: Task) -> str:
        content = {
            "model": encoder.model.sha256,
            "prompts": [encoder.model.prompts, task.prompts],
            "settings": [encoder.bf16, encoder.settings.max_seq_length, *encoder.settings.runtime.items()],
            "task": [task.name, task.split, task.content],
            "mteb": version("mteb"),
        }
        return f"{task.name}.{task.split}.{content_digest(content)[:KEY_LENGTH]}"


def ranked(documents: Mapping[str, float]) -> list[str]:
    """Document ids, best first; of equal scores the greater id, as pytrec_eval counts them.

    >>> ranked({"a": 0.5, "b": 0.5, "c": 0.9})
    ['c', 'b', 'a']
    """
    return sorted(documents, key=lambda document: (documents[document], document), reverse=True)


def write_trec(path: Path, run: Run, tag: str) -> None:
    """A run in TREC's form: query, Q0, document, rank from 1, score, tag."""
    with new_file(path) as beside, beside.open("w", encoding="utf-8") as handle:
        for query, documents in run.items():
            for rank, document in enumerate(ranked(documents), 1):
                handle.write(f"{query} Q0 {document} {rank} {documents[document]:.6f} {tag}\n")
