"""Tune a model on a collection: read, hold out, mine, train, and write the model with its record."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from embedmerge.atomic import new_folder
from embedmerge.checkpoint.hub import locate
from embedmerge.errors import EmbedmergeError
from embedmerge.retrieval.encoder import Encoder
from embedmerge.retrieval.settings import EncodingSettings
from embedmerge.run_folder import held
from embedmerge.sources import encoder_model
from embedmerge.tuning.assembling import assemble, copy_adapter
from embedmerge.tuning.base_view import BaseView, some_passages
from embedmerge.tuning.checkpoints import latest
from embedmerge.tuning.held_out import pool
from embedmerge.tuning.mining import training_pairs, with_negatives
from embedmerge.tuning.pairs import require_tunable
from embedmerge.tuning.record import finished, planned
from embedmerge.tuning.rows import read_training_data
from embedmerge.tuning.same_text import without_leaks
from embedmerge.tuning.settings import EXAMPLES as EXAMPLES_SHARE
from embedmerge.tuning.splitting import Parts
from embedmerge.tuning.training import train
from embedmerge.tuning.tuned import Tuned
from embedmerge.tuning.watching import DivergedError
from embedmerge.tuning.work import ADAPTER, EXAMPLES, HELD_OUT, LAST_GOOD, Work

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from embedmerge.checkpoint.layout import Checkpoint
    from embedmerge.run import Watcher
    from embedmerge.tuning.held_out import HeldOut
    from embedmerge.tuning.mining import Negatives, Pair
    from embedmerge.tuning.record import Record
    from embedmerge.tuning.rows import Row, TrainingData
    from embedmerge.tuning.settings import Preparation, Tuning
    from embedmerge.tuning.tuned import Kept


def tune_on(
    base: str,
    data: str,
    work: Work,
    tuning: Tuning,
    preparation: Preparation,
    watcher: Watcher,
    *,
    kept: Kept,
    tested: Mapping[str, Iterable[str]] | None = None,
    fresh: bool = False,
) -> Tuned:
    """Tune a model on a collection, or go on where an earlier process was stopped.

    Args:
        base: Folder or hub id.
        data: Collection with an optional split, or a FlagEmbedding file.
        work: Where everything goes.
        tuning: How to train.
        preparation: How rows are made.
        watcher: Told what goes on.
        kept: What is kept besides the tuned model.
        tested: Queries that are tested on, by the name of the test.
        fresh: Remove what an earlier run left and start over.

    Raises:
        EmbedmergeError: Bad input, before anything is written; or training broke.
    """
    watcher.stage("open")
    preparation.require_valid()
    if kept.along_the_way and not preparation.examples:
        preparation = replace(preparation, examples=EXAMPLES_SHARE)
    location = locate(base)
    checkpoint = replace(require_tunable(location.folder, tuning), location=location)
    if kept.adapter and not tuning.lora:
        raise EmbedmergeError("keep_adapter: there is no adapter without lora; give its rank, such as 16")
    read = read_training_data(data)
    clean, leaked = without_leaks(read, {**(read.tested or {}), **(tested or {})}, preparation.leakage)
    parts = Parts.of(clean, preparation)
    counts = {
        "queries": len(read.rows),
        "leaked": leaked,
        "training queries": len(parts.training),
        "held-out queries": len(parts.held_out),
        "example queries": len(parts.examples),
        "along the way": kept.along_the_way,
    }
    record = planned(checkpoint, clean, tuning, preparation, counts)
    if fresh:
        work.require_tuned()
    else:
        work.require_free(record)
    with held(work.folder):
        if fresh:
            work.clear()
        return _Job(checkpoint, clean, parts, work, tuning, preparation, watcher, kept, record).done()


@dataclass(frozen=True)
class _Job:
    """The stages after opening; each is skipped where its result is there."""

    base: Checkpoint
    data: TrainingData
    parts: Parts
    work: Work
    tuning: Tuning
    preparation: Preparation
    watcher: Watcher
    kept: Kept
    record: Record

    def done(self) -> Tuned:
        already = self.work.done(self.record)
        if already is None:
            self.work.claim(self.record)
            already = self._tuned()
        self.work.finish()
        return Tuned(
            self.work.model, self.work.folder, already, self.work.along_the_way, tuple(already.data["notes"])
        )

    def _tuned(self) -> Record:
        held_out = self._held_out(HELD_OUT, self.parts.held_out)
        self._held_out(EXAMPLES, self.parts.examples)
        pairs, negatives = self.work.pairs(self._pairs)
        self.watcher.stage("tune")
        try:
            trained = train(
                self.base.folder,
                pairs,
                replace(self.tuning, steps=self._steps),
                self.work.folder,
                held_out=held_out,
                progress=lambda done, total: self.watcher.progress("tuning", done, total),
                saved=self._keep if self.kept.along_the_way else None,
            )
        except DivergedError as error:
            raise DivergedError(error.step, self._last_good()) from error
        self.watcher.stage("write the model")
        if self.kept.adapter and not (self.work.folder / ADAPTER).exists():
            with new_folder(self.work.folder / ADAPTER) as folder:
                copy_adapter(trained.native, folder)
        with new_folder(self.work.model) as target:
            assemble(self.base.folder, trained.native, target)
            record = finished(self.record, trained, negatives, len(pairs), target)
            record.write(target)
        return record

    @cached_property
    def _steps(self) -> int:
        return self.tuning.planned_steps(sum(len(row.pos) for row in self.parts.training))

    @cached_property
    def _rows(self) -> list[Row]:
        """One for each query and positive, no more than the steps look at."""
        most = self._steps * self.tuning.batch_size
        return training_pairs(self.parts.training, most, self.preparation.seed)

    @cached_property
    def _view(self) -> BaseView:
        """What is mined among and chosen from; the same whatever of it an earlier process has used."""
        kept = (*self.parts.held_out, *self.parts.examples)
        needed = [text for row in kept for text in (*row.pos, *row.neg)] + [row.pos[0] for row in self._rows]
        preparation, progress = self.preparation, self.watcher.progress
        passages = some_passages(needed, self.data.corpus, preparation.most_passages, preparation.seed)
        settings = EncodingSettings(
            precision=self.tuning.precision, max_seq_length=self.tuning.max_seq_length
        )
        encoder = Encoder(
            encoder_model(self.base), settings, None, lambda done, total: progress("encoding", done, total)
        )
        return BaseView(encoder, passages)

    def _pairs(self) -> tuple[list[Pair], Negatives]:
        if self.preparation.negatives and self.preparation.mine:
            self.watcher.stage("mine negatives")
        return with_negatives(self._rows, self._view, self.preparation)

    def _held_out(self, name: str, rows: list[Row]) -> HeldOut | None:
        if not rows:
            return None

        def make() -> HeldOut:
            self.watcher.stage(f"choose passages for the {name} queries")
            return pool(rows, self._view, self.preparation.pool, self.preparation.seed)

        return self.work.held_out(name, make)

    def _keep(self, step: int, native: Path) -> None:
        """Keep the model of a step, unless it was kept before the run was stopped."""
        if not self.work.at_step(step).exists():
            with new_folder(self.work.at_step(step)) as target:
                assemble(self.base.folder, native, target)

    def _last_good(self) -> str:
        """Write the last checkpoint as a model, and say where."""
        point = latest(self.work.trainer)
        if point is None:
            return ""
        folder = self.work.folder / LAST_GOOD
        shutil.rmtree(folder, ignore_errors=True)
        with new_folder(folder) as target:
            assemble(self.base.folder, point.folder, target)
        return f"; the model after step {point.step} is in {folder}"
