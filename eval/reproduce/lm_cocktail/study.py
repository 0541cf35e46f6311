"""LM-Cocktail's study at a size that fits two cores: eight domains, experts hot enough to forget.

    python eval/reproduce/lm_cocktail/study.py STAGE --work FOLDER --data-dir FOLDER

Stages, each resumable: tune, encode, calibrate, choose, encode-tests, test,
fronts, tables; `all` runs them in turn.
"""

from __future__ import annotations

import argparse
import os
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from calibrate import calibrate
from choose import choose
from domains import OTHERS, TARGETS, Size, tested_queries, write_test
from experts import tune_experts
from fronts import fronts
from memory import RememberingTrials
from pools import guard_task, read_pool, write_pool
from tables import tables
from testing import test

from embedmerge.demo.assets import embedded_base
from embedmerge.merging.coefficients import Coefficients
from embedmerge.mixture import Mixture
from embedmerge.retrieval.cache import EmbeddingCache
from embedmerge.retrieval.collection import read_collection
from embedmerge.retrieval.encoder import EncodingSettings
from embedmerge.sources import SourceSpec, open_sources
from embedmerge.weighting.guard import Guard
from embedmerge.weighting.pool import Pool

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from embedmerge.sources import Source

SETTINGS = EncodingSettings(precision="auto", max_seq_length=128)
FULL, SMALL = Size(queries=120, documents=500), Size(queries=40, documents=200)


class Study:
    """What every stage needs.

    Args:
        work: Scratch folder; what is finished stays there.
        data: Folder of the collections.
        size: Of the test sets.
    """

    def __init__(self, work: Path, data: Path, size: Size) -> None:
        self.work = work
        self.data = data
        self.size = size
        self.base = embedded_base()

    def sources(self, *experts: str, target: str | None = None) -> list[Source]:
        """Base and experts, opened."""
        folders = tune_experts(self.base, self.data, self.work)
        specs = [SourceSpec("base", str(self.base), "base")] + [
            SourceSpec(name, str(folders[name]), "target" if name == target else "peer") for name in experts
        ]
        opened, _ = open_sources(specs)
        return opened

    def trials(self, sources: Sequence[Source]) -> RememberingTrials:
        """Encoders that share one memory."""
        return RememberingTrials(sources, SETTINGS, EmbeddingCache.of_user())

    def write_pools(self) -> None:
        """Mine the examples' negatives."""
        base = self.trials(self.sources()).of_source(self.sources()[0])
        for name in TARGETS:
            write_pool(name, base, self.data, self.work, self.tested)

    @cached_property
    def tested(self) -> set[str]:
        """Queries of the test splits, which nothing is tuned or chosen on."""
        return tested_queries((*TARGETS, *OTHERS), self.data, self.work)

    def guard_task(self, name: str) -> str:
        """A domain's held-out rows as a task for a guard."""
        return guard_task(name, self.data, self.work, self.tested)

    def remember(self, texts: Sequence[str]) -> None:
        """Encode texts with base, experts and the midpoint of each expert with the base."""
        trials = self.trials(self.sources(*TARGETS))
        for number, encode in enumerate(self._models(trials), 1):
            encode(texts)
            print(f"encoded {len(texts)} texts with model {number} of {1 + 2 * len(TARGETS)}", flush=True)

    @staticmethod
    def _models(trials: RememberingTrials) -> Iterator:
        for source in trials.sources:
            yield trials.of_source(source).pooled
        names = [source.name for source in trials.sources]
        for name in names[1:]:
            weights = dict.fromkeys(names, 0.0) | {"base": 0.5, name: 0.5}
            with trials.of_mixture(Mixture(Coefficients(weights), dtype="float32")) as encoder:
                yield encoder.pooled

    def pool_texts(self) -> list[str]:
        """Every text that weights may be chosen on."""
        examples = [example for name in TARGETS for example in read_pool(name, self.work)]
        texts = [text for example in examples for text in (example.query, *example.pos, *example.neg)]
        guard = [text for ground in Guard().grounds() for text in ground.queries]
        labelled = [ground for name in TARGETS for ground in Guard(tasks=(self.guard_task(name),)).grounds()]
        texts += [text for ground in labelled for text in (*ground.queries, *ground.passages)]
        return list(dict.fromkeys([*guard, *texts]))

    def test_texts(self) -> list[str]:
        """Every text of the test sets."""
        texts = [text for pool in self.tests().values() for text in (*pool.queries, *pool.passages)]
        return list(dict.fromkeys(texts))

    def tests(self) -> dict[str, Pool]:
        """The cut-down test sets."""
        folders = {name: write_test(name, self.size, self.data, self.work) for name in (*TARGETS, *OTHERS)}
        return {name: Pool.of_collection(read_collection(folder, "test")) for name, folder in folders.items()}


def main() -> None:
    """Run stages."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("stage", choices=[*STAGES, "all"])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--data-dir", type=Path, default=os.environ.get("EMBEDMERGE_DATA"))
    parser.add_argument("--small", action="store_true", help="tiny test sets, to check that it all runs")
    options = parser.parse_args()
    torch.set_num_threads(2)
    study = Study(options.work, options.data_dir, SMALL if options.small else FULL)
    for name in STAGES if options.stage == "all" else [options.stage]:
        STAGES[name](study)


def encode(study: Study) -> None:
    """Mine examples, and encode everything that weights may be chosen on."""
    study.write_pools()
    study.remember(study.pool_texts())


def encode_tests(study: Study) -> None:
    """Encode the test sets; nothing is scored."""
    study.remember(study.test_texts())


STAGES = {
    "tune": lambda study: tune_experts(study.base, study.data, study.work),
    "encode": encode,
    "calibrate": calibrate,
    "choose": choose,
    "encode-tests": encode_tests,
    "test": test,
    "fronts": fronts,
    "tables": tables,
}

if __name__ == "__main__":
    main()
